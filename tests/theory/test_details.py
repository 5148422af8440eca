"""What limits and closed forms leave open: at which level a weight is taken, how much of a student learns, which rows a ratio is of.

Exact in double precision, but t, which is drawn in single precision.
"""

import dataclasses
import math

import pytest
import torch
from dream3d.guidance._scorers import ascent
from dream3d.guidance.asd import LAST
from dream3d.guidance.csd import CSD
from dream3d.guidance.mvsds import MVSDS
from dream3d.guidance.nfsd import NFSD
from dream3d.guidance.pgsd import PGSD
from dream3d.guidance.reward import Reward
from dream3d.guidance.sds import SDS
from dream3d.guidance.semantic_sds import SemanticSDS

from dream3d import build
from dream3d.cameras import look_at
from dream3d.diffusion import perp_neg, predict, weight
from dream3d.discriminator import Densities, sample
from dream3d.learner import noisy
from dream3d.priors.exact_joint import ExactJoint
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Condition, Render, Step

DOUBLE = torch.float64
LEARNERS = ("vsd", "esd", "random_cfg", "f_distill", "sid")


EVALUATIONS = {  # per view and step at t = 0.95, in the middle of a run, of one region
    "sds": 2, "sjc": 2, "csd": 3, "nfsd": 3, "asd": 3, "bsd": 2, "csds": 3, "dds": 4, "pds": 4, "rfds": 2,
    "vsd": 3, "esd": 4, "random_cfg": 4, "pgsd": 2, "f_distill": 3, "sid": 2,
    "ism": 8, "tsm": 9, "csm": 8, "cds": 4, "sdi": 22, "target": 10,
    "mvsds": 2, "grid_sds": 2, "semantic_sds": 2, "inpaint_sds": 2, "anpg": 3, "video_sds": 2, "mv_video_sds": 2,
    "photo": 0, "reward": 0,
}  # fmt: skip
WEIGHTED = [n for n in EVALUATIONS if "w" in build.signature("guidance", n).parameters and n != "target"]


class Upper(Step):
    """Every uniform draw is 1: t is the upper end of its window."""

    def uniform(self, *shape, device="cpu"):
        return torch.ones(*shape)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def close(a, b, atol=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def mixture(seed=0):
    return Mixture.of(draw(3, 3, 8, 8, seed=seed), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE))


def seen(kit, prior, count=2):
    """Views with every row and buffer that a formula with a weight asks for."""
    view = kit.view_of(prior, draw(count, 3, 8, 8, seed=1), text="0", negative="1", empty="", bare="2", source="1", **{"region/0": "2"})
    labels = torch.rand(count, 8, 8, 2, generator=torch.Generator().manual_seed(2))
    render = dataclasses.replace(view.render, labels=labels / labels.sum(-1, keepdim=True))
    return dataclasses.replace(view, render=render, source=draw(count, 3, 8, 8, seed=3))


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_weight_is_that_of_the_level_it_is_told_for(kit, name):
    """w(t) at the t that was drawn, whatever other levels a formula asks at: of CDS the upper one, 0.98 at most."""
    prior, given = mixture(), {"sds", "fantasia3d", "x0"} & set(build.signature("guidance", name).parameters["w"][0].__args__)
    prior.original = mixture(seed=9)
    view, level = seen(kit, prior), torch.tensor(0.98 if name == "cds" else 0.8)

    def pull(w):
        made = build.make("guidance", {"type": name, "w": w, "t": [0.1, 0.8]}, prior)
        return made.gradient(view, Upper(1, 100, 0, torch.Generator().manual_seed(0)))

    plain = pull("uniform")
    assert plain.abs().max() > 1e-3 and len(given) >= 2
    for w in given:
        torch.testing.assert_close(pull(w), weight(prior, level[None].repeat(len(view.x)), w)[0] * plain, rtol=1e-5, atol=1e-9)


def test_the_table_of_evaluations_has_every_formula():
    assert set(EVALUATIONS) == set(build.available("guidance"))


@pytest.mark.parametrize("name", [name for name, count in EVALUATIONS.items() if count])
def test_evaluations_are_those_of_the_table(kit, name):
    """CDS at 0.95 has its upper level at 0.98; what learns is counted without its own training."""
    prior = mixture()
    prior.original, view = mixture(seed=9), seen(kit, prior)
    view = dataclasses.replace(view, cameras=dataclasses.replace(view.cameras, frames=2 if name == "mv_video_sds" else 1))
    build.make("guidance", {"type": name, "t": 0.95}, prior).gradient(view, kit.step(49))
    assert prior.evaluations + prior.original.evaluations == EVALUATIONS[name] * len(view.x)


def test_asd_is_asked_later_than_its_weight(kit):
    """Else the test above would say nothing of it."""
    prior, asked = mixture(), []
    eps = prior.eps
    prior.eps = lambda z, t, *more: asked.append(t.max().item()) or eps(z, t, *more)
    made = build.make("guidance", {"type": "asd", "t": [0.1, 0.8]}, prior)
    made.gradient(seen(kit, prior), Upper(1, 100, 0, torch.Generator().manual_seed(0)))
    assert asked == pytest.approx([0.8, 0.87]) and asked[1] < LAST


@pytest.mark.parametrize("name", LEARNERS)
def test_a_student_has_the_rank_that_is_asked_for(name):
    prior, asked = mixture(), []
    student = prior.student
    prior.student = lambda *, rank: asked.append(rank) or student(rank=rank)
    build.make("guidance", {"type": name, "rank": 7}, prior)
    assert asked == [7]


@pytest.mark.parametrize("name", LEARNERS)
def test_a_student_of_a_prior_of_groups_learns(kit, name):
    """Of two views and two frames that a prior answers for together."""
    prior = ExactJoint(size=8, views=2, frames=2, instances=2, others=2)
    guidance = build.make("guidance", {"type": name, "lr": 0.01}, prior)
    cameras = dataclasses.replace(kit.seen_from(4), views=2, frames=2, time=torch.tensor([0.0, 1.0, 0.0, 1.0]))
    view = kit.view_of(prior, draw(4, 3, 8, 8).float(), cameras, text="a red car", bare="a red car")
    start = [p.detach().clone() for p in guidance.phi.owned.parameters.values()]
    guidance.gradient(view, now := kit.step())
    guidance.learn(now)
    assert guidance.gradient(view, kit.step(1)).isfinite().all()
    assert not all(torch.equal(p, q) for p, q in zip(guidance.phi.owned.parameters.values(), start, strict=True))


def test_nothing_but_cameras_is_learnt_of_an_original():
    prior, asked = mixture(), []
    prior.original = mixture(seed=9)
    student = prior.original.student
    prior.original.student = lambda *, rank: asked.append(rank) or student(rank=rank)
    PGSD(prior)
    assert asked == [0]


@pytest.mark.parametrize("made", [lambda p: MVSDS(p), lambda p: SDS(p, scale=Ramp(50.0), rescale=0.5)])
def test_contrast_is_that_of_all_views_and_frames_of_a_group(kit, made):
    """Two views of two frames are rescaled as four views are."""
    prior, pulls = mixture(), []
    for views, frames in ((4, 1), (2, 2)):
        cameras = dataclasses.replace(kit.seen_from(8), views=views, frames=frames)
        view = kit.view_of(prior, draw(8, 3, 8, 8, seed=1), cameras, text="0")
        pulls.append(made(prior).gradient(view, kit.step()))
    close(*pulls)
    view = dataclasses.replace(view, cameras=dataclasses.replace(view.cameras, views=2, frames=1))
    assert not torch.allclose(made(prior).gradient(view, kit.step()), pulls[0])


def test_a_scene_counts_once_where_its_objects_meet(kit):
    """Masks that have grown into each other are one mask for the prompt of the scene."""
    prior = mixture()
    maps = [((torch.arange(8) == column).float().expand(8, 8)) for column in (2, 5)]
    labels = torch.stack([*maps, 1 - sum(maps)], -1).expand(2, -1, -1, -1)
    view = kit.view_of(prior, draw(2, 3, 8, 8, seed=1), text="0", **{"region/0": "1", "region/1": "2"})
    blank = torch.zeros(2, 8, 8, 1)
    view = dataclasses.replace(view, render=Render(blank.expand(-1, -1, -1, 3), blank, blank, labels=labels))
    g = SemanticSDS(prior, grow=2, scene=1.0).gradient(view, kit.step())
    close(g, SDS(prior).gradient(view, kit.step()))


def test_a_reward_is_climbed_at_the_shaken_picture(kit):
    made = Reward(mixture(), noise=Ramp(0.3))
    made.score = lambda image, words: image.pow(3).flatten(1).sum(1)
    view = kit.view_of(made.prior, draw(2, 3, 8, 8))
    view = dataclasses.replace(view, text=Condition(view.text.rows, words={"bare": ("", "")}))
    shaken = view.x + 0.3 * kit.step().normal(*view.x.shape).double()
    close(made.gradient(view, kit.step()), -ascent(made.score, shaken, ("", "")))
    close(made.gradient(view, kit.step()), -3 * shaken.square())


def test_perp_neg_projects_on_however_small_a_direction():
    """|p|^2 of 1e-4 is above the guard of 1e-6."""
    uncond, p, n = draw(1, 3, 4, 4), draw(1, 3, 4, 4, seed=1), draw(1, 3, 4, 4, seed=2)
    p = p * (1e-2 / p.norm())
    moved = perp_neg(uncond + p, uncond, [uncond + n], [-torch.ones(1)], 1.0) - uncond - p
    assert (moved * p).sum().abs() < 1e-9 * p.norm()
    close(moved, (n * p).sum() / p.square().sum() * p - n)


def test_perp_neg_takes_what_is_perpendicular_alone():
    """<perp(n, p), p> = 0, and adding a share of p to a negative row changes nothing; for every view of a batch by itself."""
    uncond, p, n = (draw(3, 3, 4, 4, seed=seed) for seed in range(3))
    weights = torch.tensor([-1.0, -0.5, 0.0])
    moved = perp_neg(uncond + p, uncond, [uncond + n], [weights], 1.0) - uncond - p
    close((moved * p).flatten(1).sum(1), torch.zeros(3, dtype=DOUBLE))
    assert (moved[0] * n[0]).sum() < -1 and moved[2].abs().max() < 1e-12
    close(perp_neg(uncond + p, uncond, [uncond + n + 3 * p], [weights], 7.5), perp_neg(uncond + p, uncond, [uncond + n], [weights], 7.5))
    one = perp_neg((uncond + p)[1:2], uncond[1:2], [(uncond + n)[1:2]], [weights[1:2]], 7.5)
    close(perp_neg(uncond + p, uncond, [uncond + n], [weights], 7.5)[1:2], one)


@pytest.mark.parametrize("s", [1.0, 7.5])
def test_nfsd_is_four_coefficients_of_csd(kit, s):
    """(a, b, n, k) = (s, -1, 1 - s, 0) from the switch on, with a real negative prompt; (s, 0, 1 - s, 0) below it."""
    prior = mixture()
    view = seen(kit, prior)
    for window, b in (((0.2, 0.9), -1.0), ((0.02, 0.19), 0.0)):
        t, rows = Times.parse(window), {"positive": s, "negative": b, "empty": 1 - s, "noise": 0.0}
        csd = CSD(prior, t=t, w="sds", **{name: Ramp(value) for name, value in rows.items()})
        close(NFSD(prior, t=t, scale=Ramp(s)).gradient(view, kit.step()), csd.gradient(view, kit.step()))


@pytest.mark.parametrize("name", ["sds", "csd", "nfsd", "bsd", "asd", "dds", "ism", "rfds", "vsd"])
def test_views_of_one_picture_are_one_view(kit, name):
    """The same x twice under the same noise is pulled the same twice: nothing is shared out among the views."""
    prior = mixture()
    twice = seen(kit, prior).at(torch.tensor([1, 1]))

    class Same(Step):
        def normal(self, *shape, device="cpu"):
            return super().normal(1, *shape[1:]).expand(shape)

        def uniform(self, *shape, device="cpu"):
            return super().uniform(1).expand(shape)

    made = build.make("guidance", {"type": name}, prior)
    one, two = (made.gradient(twice.at(torch.arange(n)), Same(1, 100, 0, torch.Generator().manual_seed(0))) for n in (1, 2))
    close(two, one.expand_as(two))
    assert one.abs().max() > 1e-3


def test_every_answer_is_told_its_own_camera(kit, toy_prior):
    """Rows of text by views: the second row of a view stands where the first does."""
    heard = []

    class Told(toy_prior):
        def eps(self, x, t, text, cameras=None, render=None):
            heard.append((cameras.azimuth, render.depth.flatten(1)[:, 0]))
            return x

    prior = Told()
    view = kit.view_of(prior, draw(3, 4, 8, 8))
    depth = torch.arange(3.0).view(3, 1, 1, 1).expand(-1, 8, 8, 1)
    view = dataclasses.replace(view, render=dataclasses.replace(view.render, depth=depth))
    predict(prior, view.x, torch.full((3,), 0.5), view, "text", "negative")
    assert torch.equal(heard[0][0], view.cameras.azimuth.repeat(2)) and heard[0][1].tolist() == [0, 1, 2, 0, 1, 2]


def test_a_student_learns_at_every_level_one_per_group(kit):
    """Of 1000 groups some lie below 0.02 and some above 0.98 but with probability 4e-9, whatever the window of the guidance."""
    prior, azimuth = Mixture(size=2), torch.zeros(2000)
    view = kit.view_of(prior, torch.zeros(2000, 3, 2, 2), look_at(azimuth, azimuth, size=2, views=2))
    t = noisy(prior, view, kit.step())[1].view(1000, 2)
    assert torch.equal(t[:, 0], t[:, 1]) and len(t[:, 0].unique()) > 990
    assert t.min() < 0.02 and t.max() > 0.98 and t.min() >= 1e-4 and t.max() <= 1 - 1e-4


def test_a_ratio_is_of_the_prompt_over_the_bare_one(kit):
    """The prior under the view's words, its student under none: log p_0 - log p_2."""
    prior = mixture()
    view, t = seen(kit, prior), torch.full((2,), 0.5, dtype=DOUBLE)
    expected = prior.log_density(view.x, t, view.text["text"]) - prior.log_density(view.x, t, view.text["bare"])
    assert expected.abs().max() > 1
    close(Densities(prior, prior).log_ratio(view.x, t, view), expected)


def test_real_pictures_are_of_the_prompt(kit):
    """A narrow component per row: what is drawn lies at that of "text"."""
    prior = Mixture.of(10 * draw(3, 3, 8, 8), torch.full((3,), 0.1, dtype=DOUBLE))
    drawn = sample(prior, seen(kit, prior), kit.step(), 20)
    far = [(drawn - mean).square().mean().sqrt() for mean in 10 * draw(3, 3, 8, 8)]
    assert far[0] < 1 and min(far[1:]) > 5


@pytest.mark.parametrize(("shape", "expected"), [("linear", 0.25), ("sqrt", 0.5), ("cosine", (1 - math.cos(math.pi / 4)) / 2),
                                                 ("constant", 0.0)])  # fmt: skip
def test_a_quarter_of_the_way(shape, expected):
    assert Ramp(1.0, 3.0, begin=0.2, until=0.6, shape=shape)(0.3) == pytest.approx(1 + 2 * expected)


def test_a_window_is_in_order_all_along():
    """Its ends may be in order, and its middle not."""
    low, high = {"start": 0.5, "end": 0.1, "begin": 0.9}, {"start": 0.6, "end": 0.2, "until": 0.1}
    with pytest.raises(ValueError, match="0 < low <= high < 1"):
        Times.parse([low, high])
    assert Times.parse([{**low, "begin": 0.0, "until": 0.1}, high]).window(0.5) == (0.1, 0.2)
