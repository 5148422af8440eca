"""What a comparison says: intervals and shares of noise are what their closed forms say, tables and page say the same."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from compare_records import failed, job, record, written
from conftest import ToyPrior, ToyScene
from dream3d.guidance.asd import ASD
from dream3d.guidance.ism import ISM
from dream3d.guidance.rfds import RFDS
from dream3d.guidance.sds import SDS
from pages import EVIL, Page

from dream3d.bench import compare_page, compare_summary, compare_variance
from dream3d.bench.compare_grid import Method, plan
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.schedule import Ramp, Times
from dream3d.types import Condition, Step, View


def test_intervals_are_those_of_clusters():
    """Prompts differ by 1, seeds by 0.1: the interval is that of 40 prompts, mean +- 1.96 / sqrt(40), not of 200 runs. The resampled
    deviation has a relative standard error of about 1 / sqrt(80) from the prompts and 1 / sqrt(4000) from the draws: 0.35 is 3 of them."""
    rng = np.random.default_rng(5)
    rows = [(centre + 0.1 * rng.standard_normal(5)).tolist() for centre in rng.standard_normal(40)]
    found = compare_summary.interval(rows)
    assert found["mean"] == pytest.approx(np.mean(rows))
    assert (found["high"] - found["low"]) / (2 * 1.96 / 40**0.5) == pytest.approx(1, abs=0.35)
    assert found == compare_summary.interval(rows) and found != compare_summary.interval(rows, seed=1)
    narrow = compare_summary.interval([[0.0] * 50 + [1.0] * 50])  # one prompt: its seeds alone
    assert narrow["high"] - narrow["low"] == pytest.approx(2 * 1.96 * 0.05, rel=0.1)


@pytest.mark.parametrize("between, within", [(1, 0), (1, 1)])
def test_intervals_of_six_prompts_hold_the_truth(between, within):
    """400 grids of 6 prompts and 3 seeds about 0: 95 % of the intervals hold it, with a standard error of 1.1 %. Plain percentiles hold
    it in 87 and 90 %."""
    rng = np.random.default_rng(3)
    grids = (between * rng.standard_normal((6, 1)) + within * rng.standard_normal((6, 3)) for _ in range(400))
    found = [compare_summary.interval(grid.tolist()) for grid in grids]
    assert np.mean([f["low"] <= 0 <= f["high"] for f in found]) > 0.92


def test_intervals_where_there_is_little():
    assert compare_summary.interval([[], [2.0]]) == {"mean": 2.0, "low": None, "high": None}
    assert compare_summary.interval([[1.0], [1.0, 1.0]]) == {"mean": 1.0, "low": 1.0, "high": 1.0}
    uneven = compare_summary.interval([[0.0], [1.0, 1.0, 1.0]])  # a prompt weighs the same however many seeds it has
    assert (uneven["mean"], uneven["low"], uneven["high"]) == (0.5, 0.0, 1.0)


def test_the_share_of_noise():
    """Gradients m + s n in P dimensions: s^2 P / (|m|^2 + s^2 P); P S = 64,000 draws of n make its relative error under 1 %."""
    rng = torch.Generator().manual_seed(0)
    mean = torch.full((4, 1000), 0.5, dtype=torch.float64)
    for s in (0.1, 1.0):
        draws = [mean + s * torch.randn(4, 1000, generator=rng, dtype=torch.float64) for _ in range(16)]
        assert compare_variance.share(draws) == pytest.approx(s**2 / (0.25 + s**2), abs=0.02)
    assert compare_variance.share([mean] * 16) == pytest.approx(0, abs=1e-6)
    noise = [torch.randn(4, 1000, generator=rng, dtype=torch.float64) for _ in range(16)]
    assert compare_variance.share(noise) == pytest.approx(1, abs=0.02) and compare_variance.share([0 * mean] * 4) is None


class Waist:
    """As much of a term as the measure asks for: its encoder is the identity."""

    def __init__(self, guidance):
        self.guidance = guidance

    def pull(self, seen, cameras, now):
        told = {row: self.guidance.prior.text(["word"] * len(cameras)) for row in ("text", "negative", "empty", "bare")}
        x = seen.rgb.movedim(-1, 1)
        x.backward(self.guidance.gradient(View(x.detach(), seen.detach(), cameras, Condition(told)), now))


@pytest.mark.parametrize("level", [0.2, 0.8])
def test_noise_at_a_level_is_what_the_formula_says(level):
    """The toy prior answers eps = t z + c, whatever the text but for c: SDS is sigma^2 (t alpha x + c + (t sigma - 1) noise), so the
    share of noise is P (t sigma - 1)^2 over that and |t alpha x + c|^2; alpha = sqrt(1 - t^2), sigma = t."""
    term, scene, cameras = Waist(SDS(ToyPrior(), t=Times(Ramp(0.5), Ramp(0.5)))), ToyScene(), ring(4, size=16)
    render = scene.render(cameras).detach()
    found = compare_variance.share(compare_variance.gradients([term], level, 0, Step.make(5, 10, 0), cameras, render))
    mean = level * (1 - level**2) ** 0.5 * render.rgb + 0.04
    noise = mean.numel() * (level**2 - 1) ** 2
    assert found == pytest.approx(noise / (noise + mean.square().sum().item()), abs=0.02)


def test_levels_are_held_and_windows_stay():
    """ASD looks at its window besides; ISM without noise at its start draws nothing, so nothing varies."""
    asd = ASD(ToyPrior(), t=Times(Ramp(0.4), Ramp(0.9)), plus=1.0, jitter=False)
    seen = []
    asd._later = lambda t, view, now: seen.append((t, ASD._later(asd, t, view, now))) or seen[-1][1]
    scene, cameras, now = ToyScene(), ring(2, size=16), Step.make(5, 10, 0)
    render = scene.render(cameras).detach()
    list(compare_variance.gradients([Waist(asd)], 0.6, 0, now, cameras, render))
    (t, later), *_ = seen
    assert t.tolist() == pytest.approx([0.6, 0.6]) and later.tolist() == pytest.approx([0.8, 0.8])
    ism = ISM(ToyPrior(), noise=0.0)
    assert compare_variance.share(compare_variance.gradients([Waist(ism)], 0.8, 0, now, cameras, render)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(Mistake, match="no noise level"), compare_variance.held([Waist(Towardless())], 0.5):
        pass


class Inherited(SDS):
    """A formula that somebody plugs in: its module draws no level, that of the class it begins with does."""


Inherited.__module__ = __name__


def test_levels_are_held_where_formulas_inherit_or_shift_them():
    """The same share as SDS; and RFDS sees t, not what its shift makes of it: at scale 1 of the toy prior its noise is (t sigma - 1 -
    r (t sigma - 1) (-1)) eps = (1 + r)(t sigma - 1) eps, its share that of SDS at the same t."""
    scene, cameras, now = ToyScene(), ring(2, size=16), Step.make(5, 10, 0)
    render = scene.render(cameras).detach()
    kinds = [formula(ToyPrior(), scale=Ramp(1.0)) for formula in (SDS, Inherited, RFDS)]
    shares = [compare_variance.share(compare_variance.gradients([Waist(kind)], 0.5, 0, now, cameras, render)) for kind in kinds]
    assert shares[1] == shares[0] and shares[2] == pytest.approx(shares[0], abs=1e-5)


def test_without_noise_to_measure_the_record_says_why(tmp_path):
    (tmp_path / "prompts.txt").write_text("a red ball")
    (job,) = plan([Method("sds", "sds-gaussian", ("steps=1",))], tmp_path / "prompts.txt", 1, tmp_path)
    found = compare_variance.of_run(job, ToyScene())
    assert found == {"0.2": None, "0.5": None, "0.8": None, "why": "this run has no checkpoint"}


class Towardless:
    """A formula without a noise level."""


def test_tables_say_the_same(tmp_path):
    def spoil(one):
        if one.prompt == "a blue cube" and one.method == "b_2":
            return failed(one, "it, \"failed\"")
        return False if one.seed == 1 and one.method == "b_2" else None

    _, summary = written(tmp_path, ["sds", "b_2"], ["a red ball", "a blue cube"], 2, spoil)
    first, second = summary["methods"]
    assert (first["done"], second["planned"], second["done"], second["failed"]) == (4, 4, 1, 2)
    assert second["measures"]["score.iou"]["runs"] == 1 and second["measures"]["score.iou"]["low"] is None
    assert first["measures"]["score.iou"]["against"] is None and second["measures"]["score.iou"]["against"]["mean"] != 0
    rows = list(csv.DictReader(compare_summary.csv(summary).splitlines()))
    assert [row["method"] for row in rows] == ["sds", "b_2"]
    assert float(rows[0]["IoU"]) == pytest.approx(first["measures"]["score.iou"]["mean"], rel=1e-5) and rows[1]["IoU low"] == ""
    lines = compare_summary.tex(summary).splitlines()
    assert lines[1].startswith("\\begin{tabular}") and lines[-1] == "\\end{tabular}" and "\\toprule" in lines
    body = [line for line in lines if line.endswith("\\\\")]
    columns = len(re.search(r"l(r+)", lines[1])[1]) + 1
    assert len(body) == 3 and all(line.count("&") == columns - 1 for line in body) and body[2].startswith("b\\_2 &")
    assert not re.search(r"(?<!\\)[%_](?!{)", "".join(body)) and "NaN" not in json.dumps(summary)
    assert "4/4" in compare_summary.table(summary) and "2; the page" in compare_summary.table(summary)


def test_none_and_two_fronts_are_not_one_each(tmp_path):
    def spoil(one):
        found = record(one, np.random.default_rng(0))
        found["score"]["janus"] = 2 * one.seed if one.method == "a" else 1
        found["score"]["iou"] = 0.5 + 0.1 * (one.method == "a")
        return found

    path, summary = written(tmp_path, ["a", "b"], ["a red ball"], 2, spoil)
    by = {m.key: m for m in compare_summary.MEASURES}
    assert [m["measures"]["score.janus"]["mean"] for m in summary["methods"]] == [1.0, 1.0]
    assert compare_summary.best(summary, by["score.janus"]) == {"b"} and compare_summary.best(summary, by["score.iou"]) == {"a"}
    assert compare_summary.best(summary, by["evaluations"]) == set() == compare_summary.best(summary, by["variance.0.5"])
    rows = [row for row in compare_summary.tex(summary).splitlines() if row.endswith("\\\\")][1:]
    assert ["\\mathbf{1.00}" in row for row in rows] == [False, True] and path.read_text().count("<b>1.00</b>") == 1


def test_a_method_that_lacks_runs_is_not_the_best(tmp_path):
    """b has failed at the hard prompts and is right at the easy one; c lacks the first method's partners."""

    def spoil(one):
        rng, k = np.random.default_rng(0), int(one.prompt[-1])
        if one.method == "b" and k or one.method == "a" and one.seed == 0 and k > 1:
            return failed(one, "no memory")
        found = record(one, rng)
        found["score"]["iou"] = 0.9 - 0.1 * k + 0.1 * (one.method == "c")
        return found

    path, summary = written(tmp_path, ["a", "b", "c"], [f"a red ball {k}" for k in range(6)], 1, spoil)
    a, b, c = summary["methods"]
    iou = next(m for m in compare_summary.MEASURES if m.key == "score.iou")
    assert b["measures"]["score.iou"]["mean"] == pytest.approx(0.9)
    assert compare_summary.most(summary, iou) == 6 and compare_summary.best(summary, iou) == set(), "c alone is whole"
    against = c["measures"]["score.iou"]["against"]
    assert against["prompts"] == 2 and against["low"] > 0 and not compare_summary.differs(c["measures"]["score.iou"])
    assert "of 1 run, others 6" in path.read_text() and "of 6 runs" not in path.read_text()
    table = compare_summary.tex(summary).splitlines()
    assert [row.split(" & ")[1] for row in table if row.endswith("\\\\")] == ["runs", "2/6", "1/6", "6/6"]
    rows = list(csv.DictReader(compare_summary.csv(summary).splitlines()))
    assert [row["IoU runs"] for row in rows] == ["2", "1", "6"]


def test_differences_are_marked_from_six_prompts_on(tmp_path):
    def spoil(one):
        rng = np.random.default_rng([int(one.prompt[-1]), one.seed])
        found = record(one, rng)
        found["score"]["iou"] = found["score"]["iou"] * 0.5 + 0.3 * (one.method == "b")
        found["score"]["recognised"] = 0.5
        return found

    for count in (5, 6):
        path, summary = written(tmp_path / str(count), ["a", "b"], [f"a red ball {k}" for k in range(count)], 2, spoil)
        assert ("mark-good" in re.sub(r"(?s)<style>.*</style>", "", path.read_text())) == (count == 6)
        assert summary["methods"][1]["measures"]["score.iou"]["against"]["mean"] == pytest.approx(0.3)


def test_names_in_links_and_in_latex(tmp_path):
    """A recipe's file may be called anything; a picture that is gone is told."""
    name = "what? 50%_#1 {x}^~\\"
    out = tmp_path / "c"
    (out / "runs" / f"{name}-a-red-ball-s0" / "export").mkdir(parents=True)
    (out / "runs" / f"{name}-a-red-ball-s0" / "export" / "report.html").write_text("")
    path, summary = written(out, [name], ["a red ball"], 1)
    links = [a["href"] for a in Page(path.read_text()).all("a")]
    assert "runs/what%3F%2050%25_%231%20%7Bx%7D%5E~%5C-a-red-ball-s0/export/report.html" in links
    assert compare_summary._escaped(name) == "what? 50\\%\\_\\#1 \\{x\\}\\textasciicircum{}\\textasciitilde{}\\textbackslash{}"
    assert "its picture is missing" not in path.read_text()
    (picture,) = (out / "turntables").iterdir()
    picture.unlink()
    again = [record(job(name, "a red ball", 0), np.random.default_rng(0))]
    assert "its picture is missing" in compare_page.write(out, summary, again).read_text()


def test_a_page_is_well_formed_whatever_it_is_told(tmp_path):
    def spoil(one):
        return failed(one, EVIL) if one.seed and one.method == "b" else None

    path, _ = written(tmp_path, ["sds", "b"], [EVIL, "a red ball"], 2, spoil)
    page = Page(path.read_text(encoding="utf-8"))
    assert len(page.scripts()) == 2 and "alert(1)" not in page.scripts()[1][1]
    assert not re.search(r"https?:", path.read_text().replace(EVIL, "")) and len(json.loads(page.scripts()[0][1])) == 6
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ") and "unsafe-eval" not in policy
