"""Claims: verdicts against closed forms, and measures on cases with a known answer."""

import dataclasses
import math
from itertools import pairwise

import pytest
import torch

from dream3d.bench import claims, claims_files, claims_noise, claims_path, claims_pixel, claims_play, claims_runs
from dream3d.bench.claims_core import AGREES, DISAGREES, SILENT, UNDECIDED, judge, margin, spread, verdict
from dream3d.bench.claims_list import CLAIMS
from dream3d.bench.claims_world import LEVELS, Gaussians, Pictures, cosine, draws, formula, misfit, noise, play, sampled
from dream3d.errors import Mistake
from dream3d.priors.exact import Exact


@pytest.fixture(scope="module")
def world():
    return Gaussians()


# --- verdicts ---------------------------------------------------------------------------------------------------------------------


def test_a_rule_is_how_far_its_left_side_is_above_the_right():
    assert margin("sds > 2 * asd", {"sds": 3.0, "asd": 1.0}) == 1.0
    assert margin("log(a) > log(b)", {"a": math.e, "b": 1.0}) == pytest.approx(1.0)
    assert margin("abs(a - 1) > abs(b - 1)", {"a": -1.0, "b": 2.0}) == 1.0
    assert margin("log(a) > log(b)", {"a": 0.0, "b": 1.0}) is None  # nothing pulls
    assert margin("a > b", {"a": None, "b": 1.0, "c": None}) is None
    assert margin("a > b", {"a": 2.0, "b": 1.0, "c": None}) == 1.0  # what a rule does not name it may lack
    with pytest.raises(NameError):
        margin("a > b", {"a": 1.0})


def test_an_interval_of_many_prompts_is_the_normal_one():
    drawn = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3
    found, error = spread([[v] for v in drawn.tolist()]), drawn.std().item() / 20
    assert found["mean"] == pytest.approx(drawn.mean().item(), rel=1e-5)
    assert found["low"] == pytest.approx(found["mean"] - 1.96 * error, abs=0.1 * error)
    assert found["high"] == pytest.approx(found["mean"] + 1.96 * error, abs=0.1 * error)


def test_differences_are_paired():
    """Prompts that differ widely, and a small difference that is the same in each: unpaired it would drown."""
    cells = [[{"a": p + 0.1 + 0.01 * s, "b": float(p)} for s in range(3)] for p in range(6)]
    found = judge(("a > b",), cells)
    assert found["verdict"] == AGREES and found["margins"]["a > b"]["mean"] == pytest.approx(0.11)
    assert found["numbers"]["a"]["low"] < 2 and found["numbers"]["b"]["high"] > 3
    assert judge(("b > a",), cells)["verdict"] == DISAGREES
    assert judge(("a > b", "b > a"), cells)["verdict"] == DISAGREES  # every rule is implied
    assert judge(("a > b", "a > 2.5"), cells)["verdict"] == UNDECIDED


def test_what_has_no_value_says_nothing():
    assert judge(("a > 0",), [[{"a": None}, {"a": None}]])["verdict"] == SILENT
    one, none = [{"a": 1.0}, {"a": 2.0}], [{"a": None}, {"a": None}]
    found = judge(("a > 0",), [[{"a": None}, {"a": 1.0}], *[one] * 5])
    assert found["verdict"] == AGREES and (found["margins"]["a > 0"]["prompts"], found["margins"]["a > 0"]["cells"]) == (6, 11)
    assert judge(("a > 0",), [one] * 5)["verdict"] == UNDECIDED == judge(("-1 > a",), [one] * 5)["verdict"]  # too few prompts
    assert judge(("a > 0",), [*[one] * 5, none])["verdict"] == UNDECIDED  # a prompt without a value is none
    assert judge(("a > 0",), [[{"a": 1.0}], *[[{"a": None}]] * 5])["verdict"] == UNDECIDED  # one value has no interval
    both = [[{"a": 1.0 + 0.1 * p, "b": None if p else 1.0}] for p in range(6)]
    assert judge(("0 > a", "b > 0"), both)["verdict"] == DISAGREES and judge(("a > 0", "b > 0"), both)["verdict"] == UNDECIDED
    assert verdict([]) == SILENT


# --- the list ---------------------------------------------------------------------------------------------------------------------


def test_every_claim_has_a_paper_a_rule_and_a_measure_or_says_why_not():
    assert len([c for c in CLAIMS.values() if c.kind == "pointwise"]) >= 24
    for claim in CLAIMS.values():
        assert claims_files.paper(claim.paper)["arxiv"], claim.name
        if claim.kind == "nothing":
            assert not claim.rules and claim.silent[""]
            continue
        assert claim.rules and all(" > " in rule for rule in claim.rules)
        assert claim.methods or callable(claims.load(claim.measure))
    assert set(claims_files.NOTES) <= set(CLAIMS)
    with pytest.raises(Mistake, match=r"papers.bib has no"):
        claims_files.paper("nobody2000")


@pytest.mark.parametrize("name", [c.name for c in CLAIMS.values() if c.kind == "runs"])
def test_whole_runs_have_configurations_that_can_run(name, tmp_path):
    claim = CLAIMS[name]
    jobs = claims_runs.planned(claim, (claim.prompts or claims_runs.PROMPTS)[-1:], "exact", None, 2, tmp_path, ("steps=5",))
    assert [job.seed for job in jobs] == [0] * len(claim.methods) + [1] * len(claim.methods)
    assert {job.method for job in jobs} == set(claim.methods)
    claims_runs.planned(claim, ("a red ball on a blue cube",), "exact", None, 1, tmp_path, ("steps=5",))
    assert len(list((tmp_path / "prompts").iterdir())) == 2  # two processes that plan at once read their own
    numbers = {f"{job.method}_{key}": 1.0 for job in jobs for key in ("recognised", "iou", "janus", "view_gap", "saturation", "diversity")}
    assert all(margin(rule, numbers) is not None for rule in claim.rules)


def test_numbers_of_whole_runs(tmp_path, monkeypatch):
    """<method>_<measure> of each prompt and seed; a run that failed has none; diversity is one number a prompt."""

    class Told:
        def __init__(self, out):
            pass

        def stored(self, job):
            if job.method == "vsd" and job.seed == 1:
                return {"state": "failed", "reason": "no memory"}
            return {"state": "done", "score": {"saturation": 1 + job.seed + 2 * (job.method == "vsd"), "janus": None}}

        def diversity(self, jobs):
            return {"vsd": 0.5, "sds101": 0.25}[jobs[0].method] * len(jobs)

    monkeypatch.setattr("dream3d.bench.score.Scores", Told)
    monkeypatch.setattr(claims_runs, "fill", lambda jobs, scores, make, tell: None)
    claim = CLAIMS["3d-diversity"]
    cells, failed = claims_runs.measure(claim, "exact", None, 6, 2, tmp_path)
    assert failed == 6 and len(cells) == 6 and all(len(row) == 2 for row in cells)
    first, second = cells[0]
    assert (first["sds101_saturation"], first["vsd_saturation"], first["vsd_janus"]) == (1.0, 3.0, None)
    assert (second["sds101_saturation"], second["vsd_saturation"]) == (2.0, None)
    assert (first["vsd_diversity"], second["vsd_diversity"]) == (1.0, None)
    assert judge(claim.rules, cells)["verdict"] == AGREES


def test_prompts_of_two_objects_tell_their_parts():
    words = "guidance.regions=<first> | <second>"
    assert claims_runs._told(words, "a red ball on a blue cube") == "guidance.regions=a red ball | a blue cube"
    assert claims_runs._told("renderer.halves=<halves>", "a yellow duck next to a green tree") == "renderer.halves=left"


# --- measures with a known answer -------------------------------------------------------------------------------------------------


def test_noise_is_the_trace_of_the_covariance():
    drawn = 2 + 0.5 * torch.randn(4000, 2, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cov, share = noise(drawn)
    assert cov == pytest.approx(0.25, rel=0.05) and share == pytest.approx(0.25 / 4.25, rel=0.05)
    assert noise(torch.ones(3, 1, 1, 1, 1)) == (0.0, 0.0) and noise(torch.zeros(3, 1, 1, 1, 1)) == (0.0, None)
    assert cosine(drawn[0], 3 * drawn[0]) == pytest.approx(1) and cosine(drawn[0], torch.zeros_like(drawn[0])) is None


def test_the_noise_of_sds_is_that_of_a_gaussian(world):
    """Deviation w alpha^2 S^2 / V^2 per coordinate, mean w sigma alpha (x - mu) / V^2, at scale 1."""
    view = world.scene(0, 0).view
    alpha, sigma = (v.double().item() for v in world.prior.alpha_sigma(torch.tensor([0.5])))
    total = alpha**2 * 0.25 + sigma**2
    found = draws(formula(world.prior, "sds", scale=1.0, w="uniform"), view, 0.5, count=64)
    assert noise(found)[0] == pytest.approx((alpha**2 * 0.25 / total) ** 2, rel=0.05)
    mean = sigma * alpha * (view.x - world.mean(0)) / total
    assert (found.mean(0) - mean).abs().max() < 5 * alpha**2 * 0.25 / total / 8
    assert torch.equal(found, draws(formula(world.prior, "sds", scale=1.0, w="uniform"), view, 0.5, count=64))


def test_answers_of_a_gaussian(world):
    """E |eps_hat - eps|^2 = alpha^2 S^2 / V^2 at data, and N(0, 1) gives sigma^2 of the noise back."""
    found = claims_noise.denoising_error(world, 1, 0) | claims_noise.unconditional_noise(world, 1, 0)
    for percent in (10, 50, 90):
        alpha, sigma = (v.item() for v in world.prior.alpha_sigma(torch.tensor([percent / 100])))
        assert found[f"error_{percent}"] == pytest.approx(alpha**2 * 0.25 / (alpha**2 * 0.25 + sigma**2), rel=0.1)
        if percent == 10:
            assert found["kept_10"] == pytest.approx(sigma**2, rel=1e-4)


def test_intervals_hold_what_is_known(world):
    """SDS's noise without guidance is w^2 (alpha^2 S^2 / V^2)^2 per number whatever the scene. 16 noises of 192 numbers tell it within
    2.6 %; those of 18 cells that have noise of their own within 0.6 %, and the interval says so. Prompts that shared a seed's noise
    would repeat each other's numbers, and the interval would be of nothing but the levels."""
    truth = 0.0
    for t in LEVELS:
        alpha, sigma = (v.double().item() for v in world.prior.alpha_sigma(torch.tensor([t])))
        truth += (sigma**2 * alpha**2 * 0.25 / (alpha**2 * 0.25 + sigma**2)) ** 2 / len(LEVELS)
    settings = ("sds", {"t": claims_noise.ANY, "scale": 1.0})
    table = [[claims_noise._two(world, prompt, seed, sds=settings)["sds_cov"] for seed in range(3)] for prompt in range(6)]
    assert len({value for row in table for value in row}) == 18
    found = spread(table)
    assert found["mean"] == pytest.approx(truth, rel=0.02) and found["low"] < truth < found["high"]
    ends = [claims_play.run_seeds(world, prompt, 0) for prompt in (0, 6)]  # one component, other noise
    assert ends[0]["cds"] != pytest.approx(ends[1]["cds"], rel=1e-3)


def test_edits_leave_what_is_not_pulled(world):
    """Between Gaussians of one spread DDS and PDS pull along the way from source to prompt alone: nothing moves across it."""
    found = claims_play.edits(world, 0, 0)
    assert found["dds"] < 1e-9 and found["pds"] < 1e-9 and found["sds"] > 0.1
    assert found["dds_done"] > 0.8 and found["pds_done"] < found["dds_done"]


def test_directions_and_differences_on_gaussians(world):
    assert claims_noise.csd_direction(world, 0, 0)["csd_cosine"] == pytest.approx(1, abs=1e-3)
    found = claims_noise.dds_variance(world, 0, 0)
    assert found["dds_cov"] < 1e-20 < found["sds_cov"]  # equal spreads: the noise cancels exactly
    found = claims_noise.perp_neg(world, 0, 0)
    assert found["perp_bad"] < found["plain_bad"]
    assert found["perp_good"] == pytest.approx(found["plain_good"], abs=0.05)


def test_walks_on_gaussians(world):
    """DDIM keeps (z - alpha mu) / V; a fine walk has no error against itself; inversion that is fine follows DDIM."""
    view = world.scene(0, 0).view
    z = torch.randn(view.x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = [0.98 - 0.002 * i for i in range(490)]
    alpha, sigma = (v.double().item() for v in world.prior.alpha_sigma(torch.tensor([0.98])))
    exact = world.mean(0) + 0.5 * (z - alpha * world.mean(0)) / math.sqrt(alpha**2 * 0.25 + sigma**2)
    assert (sampled(world.prior, z, view, levels) - exact).square().mean().sqrt() < 0.02
    found = claims_path.tsm_error(world, 0, 0)
    assert 0 < found["tsm_interval"] < found["ism_interval"]
    found = claims_path.sdi_ddim(world, 0, 0)  # inversion by short moves: x ends at the mean, half a deviation from DDIM's picture
    assert found["inverted"] == pytest.approx(0.5, abs=0.1) and found["start"] < found["inverted"] < found["random"]
    one = claims_path.one_step(world, 0, 0)
    assert one["one"] < one["many"] < 1.2 * one["data"]


def test_the_interval_s_error_is_that_of_its_walk(world):
    """"" is N(0, 1), so eps = sigma alpha y of y = z / alpha, and DDIM is y + (r_b - r_a) eps, r = sigma / alpha: all is a factor of x."""

    def at(t: float) -> tuple[float, float]:
        alpha, sigma = (v.double().item() for v in world.prior.alpha_sigma(torch.tensor([t], dtype=torch.float64)))
        return sigma * alpha, sigma / alpha

    def factor(t: float, stride: float, gamma: float) -> float:
        s, y = t - 0.08, 1.0
        levels = [0.0005 + i * stride for i in range(math.ceil((s - 0.0005) / stride))] + [s]
        for a, b in pairwise(levels):
            y *= 1 + (at(b)[1] - at(a)[1]) * at(a)[0]
        ends = (y * (1 + (at(to)[1] - at(s)[1]) * at(s)[0]) * at(to)[0] for to in (t, s + math.sqrt(1 - gamma**2) * 0.08))
        return next(ends) - next(ends)

    found, size = claims_path.tsm_error(world, 0, 0), world.scene(0, 0).view.x.square().mean().sqrt().item()
    for name, gamma in (("ism", 1.0), ("tsm", 0.3)):
        apart = [factor(t, 0.2, gamma) - factor(t, claims_path.FINE, gamma) for t in (0.5, 0.8)]
        assert found[f"{name}_interval"] == pytest.approx(size * math.sqrt((apart[0] ** 2 + apart[1] ** 2) / 2), rel=1e-3)


def test_plays_end_where_they_must(world):
    scene = world.scene(0, 0)
    x = play(formula(world.prior, "sds", scale=1.0, t=[0.3, 0.7]), scene.view, 150)
    assert (x - world.mean(0)).square().mean().sqrt() < 0.1
    far = misfit(world.prior, world.mean(0) + torch.full_like(x, 2.0), scene.view)
    assert misfit(world.prior, x, scene.view) < 0.1 * far
    assert claims_play.beyond(world, 0, scene, x) == pytest.approx(0, abs=0.1)
    assert claims_play.beyond(world, 0, scene, 2 * world.mean(0)[None]) == pytest.approx(1)
    assert play(formula(world.prior, "sds"), scene.view, 5, bounded=True, lr=9.0).abs().max() == 1


def test_ensembles_with_exact_students(world, monkeypatch):
    """Told its camera a student knows x: SDS. Untold it is the best Gaussian; ESD between them spreads more than VSD."""
    monkeypatch.setattr(claims_play, "STEPS", 100)
    found = claims_play.entropy(world, 0, 0)
    assert found["vsd"] < found["esd"] < found["esd_80"]
    found = claims_play.modes(world, 0, 0)
    assert found["reverse_kl"] < 0.05 and found["forward_kl"] > 0.3


def test_gradients_through_an_encoder(world):
    """J^T g against differences of <E(x), g>, and the clip's bound."""
    g = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(2))
    x = 0.1 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    fixed = type("Fixed", (), {"gradient": lambda self, view, now: g})()
    view = dataclasses.replace(world.scene(0, 0).view, x=x)
    found = claims_pixel.Encoded(fixed).gradient(view, None)
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    encode = claims_pixel.encoder()
    with torch.no_grad():
        slope = ((encode(x + 1e-2 * way) - encode(x - 1e-2 * way)) * g).sum() / 2e-2
    assert (found * way).sum().item() == pytest.approx(slope.item(), rel=1e-2)
    limit = found.abs().amax(1).median().item()
    clipped = claims_pixel.Encoded(fixed, limit).gradient(view, None)
    assert clipped.abs().max().item() == pytest.approx(limit, rel=1e-5)


def test_pulls_of_colours():
    pull = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    assert claims_pixel._along(pull, torch.tensor([1.0, 0.0, 0.0])) == pytest.approx(1)
    assert claims_pixel._along(pull, torch.tensor([-1.0, 0.0, 0.0])) == pytest.approx(-1)
    assert claims_pixel._along(pull[:0], torch.ones(3)) is None and claims_pixel._along(0 * pull, torch.ones(3)) is None


def test_pictures_are_seen_half_made():
    """A truth's own saturation is 1, half of its contrast less; views of the front must not show the back, others not the front."""
    world = Pictures("exact", Exact(size=16, instances=1, renders=6, others=12, bandwidth=0.1))
    scene = world.scene(0, 1)
    assert claims_play.beyond(world, 0, scene, scene.data) == pytest.approx(0)
    assert claims_play.beyond(world, 0, scene, scene.view.x) < -0.2
    assert torch.equal(scene.view.x, world.scene(0, 1).view.x) and not torch.equal(scene.view.x, world.scene(0, 2).view.x)
    text, ahead = scene.view.text, scene.view.cameras.azimuth.cos() > 0
    wanted = torch.where(ahead[:, None, None], text["back"].tokens, text["front"].tokens)
    assert torch.equal(text["other"].tokens, wanted)
    edit = world.edit(0, 0)
    assert torch.equal(edit.x, edit.source) and "source" in edit.text
    found = claims_noise.asd_variance(world, 0, 0)
    assert all(value > 0 for value in found.values())
