"""SemanticSDS: every region under its own prompt, to the pixel; masks from labels; and how prompts and labels of objects come about.

Identities are exact in double precision; t and noise are drawn in single precision, the same ones on both sides.
"""

import pytest
import torch
from dream3d.guidance._regions import regions
from dream3d.guidance.sds import SDS
from dream3d.guidance.semantic_sds import SemanticSDS
from dream3d.renderers.gaussians import Gaussians

from dream3d import assemble, build, config
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.priors.exact_joint import ExactJoint
from dream3d.priors.mixture import Mixture
from dream3d.schedule import Ramp, Times
from dream3d.types import Render, View
from dream3d.vocabulary import check_vocabulary

DOUBLE, T = torch.float64, (0.02, 0.98)
PROMPTS = {"mixture": ("0", "1", "2"), "joint": ("a red ball", "a blue cube", "a duck")}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.fixture(params=["mixture", "joint"])
def prior(request):
    if request.param == "joint":
        made = ExactJoint(size=8, instances=2, others=2, bandwidth=0.3)
    else:
        made = Mixture.of(draw(3, 3, 8, 8), torch.tensor([0.3, 0.5, 1.0], dtype=DOUBLE))
    made.prompts = PROMPTS[request.param]
    made.text(list(made.prompts))  # what "" means may depend on what was asked for
    return made


def labels(*objects):
    """Labels of 3 views from one map per object (H W), the background last."""
    maps = torch.stack(objects, -1).float().expand(3, -1, -1, -1)
    return torch.cat([maps, 1 - maps.sum(-1, keepdim=True)], -1)


def seen(kit, prior, labels, *prompts, text=None):
    """Three views with labelled objects and a prompt for each."""
    rows = {f"region/{k}": prompt for k, prompt in enumerate(prompts)}
    view = kit.view_of(prior, draw(3, 3, 8, 8, seed=1), text=text or prior.prompts[0], **rows)
    blank = torch.zeros(3, *labels.shape[1:3], 1)
    return View(view.x, Render(blank.expand(-1, -1, -1, 3), blank, blank, labels=labels), view.cameras, view.text)


def semantic(prior, **more):
    return SemanticSDS(prior, **{"scale": Ramp(7.5), "t": Times.parse(T), "scene": 0.0, "grow": 0} | more)


def sds(kit, prior, prompt, **more):
    """SDS with one prompt on the same x, t and noise."""
    view = kit.view_of(prior, draw(3, 3, 8, 8, seed=1), text=prompt)
    return SDS(prior, scale=Ramp(7.5), t=Times.parse(T), **more).gradient(view, kit.step())


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


ALL, LEFT = torch.ones(8, 8), (torch.arange(8) < 3).float().expand(8, 8)
MIDDLE = torch.zeros(8, 8)
MIDDLE[3:5, 3:5] = 1


@pytest.mark.parametrize("w", ["sds", "uniform", "fantasia3d"])
def test_one_region_that_is_everything_is_sds(kit, prior, w):
    view = seen(kit, prior, labels(ALL), prior.prompts[1])
    close(semantic(prior, w=w).gradient(view, kit.step()), sds(kit, prior, prior.prompts[1], w=w))


def test_a_scene_that_is_everywhere_is_sds_with_the_prompt(kit, prior):
    a, b, c = prior.prompts
    view = seen(kit, prior, labels(LEFT, 1 - LEFT), b, c, text=a)
    close(semantic(prior, scene=1.0).gradient(view, kit.step()), sds(kit, prior, a))


@pytest.mark.parametrize("count", [2, 4])
def test_the_same_prompt_on_a_disjoint_cover_is_sds_over_k(kit, prior, count):
    """The mean dilutes; the sum does not."""
    columns = [(torch.arange(8) * count // 8 == k).float().expand(8, 8) for k in range(count)]
    view, whole = seen(kit, prior, labels(*columns), *[prior.prompts[1]] * count), sds(kit, prior, prior.prompts[1])
    close(semantic(prior).gradient(view, kit.step()), whole / count)
    close(semantic(prior, combine="sum").gradient(view, kit.step()), whole)


def test_each_region_is_pulled_by_its_own_prompt_and_no_other(kit, prior):
    """Inside M_k the gradient is e_k / K, whatever other prompts say; where no object is, 0. Noise and t are shared."""
    a, b, c = prior.prompts
    right = (torch.arange(8) > 4).float().expand(8, 8)
    g = semantic(prior).gradient(seen(kit, prior, labels(LEFT, right), a, b), kit.step())
    close(g[..., :3], sds(kit, prior, a)[..., :3] / 2)
    close(g[..., 5:], sds(kit, prior, b)[..., 5:] / 2)
    assert (g[..., 3:5] == 0).all()
    grown = semantic(prior, grow=1).gradient(seen(kit, prior, labels(LEFT, right), a, b), kit.step())
    close(grown[..., :4], sds(kit, prior, a)[..., :4] / 2)
    close(grown[..., 4:], sds(kit, prior, b)[..., 4:] / 2)
    other = semantic(prior).gradient(seen(kit, prior, labels(LEFT, right), a, c), kit.step())
    close(other[..., :3], g[..., :3])
    assert not torch.allclose(other[..., 5:], g[..., 5:])


def test_without_objects_in_sight_there_is_no_gradient(kit, prior):
    nothing = labels(0 * ALL, 0 * ALL)
    for scene in (0.0, 1.0):
        view = seen(kit, prior, nothing, *prior.prompts[:2])
        assert (semantic(prior, scene=scene, grow=2).gradient(view, kit.step()) == 0).all()


def test_steps_of_the_scene_alternate_with_steps_of_the_objects(kit, prior):
    """They are never mixed: every second step at a half, and as many as said at any share."""
    view = seen(kit, prior, labels(LEFT, 1 - LEFT), *prior.prompts[1:])

    def scenes(share, steps):
        asked = []
        for i in steps:
            before = prior.evaluations
            semantic(prior, scene=share).gradient(view, kit.step(i))
            asked.append(prior.evaluations - before == 2 * 3)
        return asked

    assert scenes(0.5, range(6)) == [False, True] * 3
    assert sum(scenes(0.25, range(20))) == 5 and not any(scenes(0.0, range(3))) and all(scenes(1.0, range(3)))


def test_evaluations(kit, prior):
    """K + 1 per view on steps of the objects (the K unconditional ones are one and the same), two on those of the scene."""
    third = (torch.arange(8) == 7).float().expand(8, 8)
    view = seen(kit, prior, labels(LEFT, third, 0 * ALL), *prior.prompts)
    semantic(prior).gradient(view, kit.step())
    assert prior.evaluations == (3 + 1) * 3
    semantic(prior, scene=1.0).gradient(view, kit.step())
    assert prior.evaluations == (3 + 1 + 2) * 3


# --- masks --------------------------------------------------------------------------------------------------------------


def masks(labels, count, size=(8, 8), grow=0):
    blank = torch.zeros(len(labels), *labels.shape[1:3], 1)
    found = regions(Render(blank.expand(-1, -1, -1, 3), blank, blank, labels=labels), count, size, grow)
    assert found.shape == (count, len(labels), 1, *size)
    return found[:, 0, 0]


def test_a_mask_grows_into_the_background_only():
    right = (torch.arange(8) == 5).float().expand(8, 8)
    a, b = masks(labels(MIDDLE, right), 2, grow=2)
    expected = torch.zeros(8, 8)
    expected[1:7, 1:7] = 1
    assert torch.equal(a, expected * (1 - right))
    assert torch.equal(b, (torch.arange(8) > 2).float().expand(8, 8) * (1 - MIDDLE))
    both = masks(labels(MIDDLE, right), 2)
    assert torch.equal(both[0], MIDDLE) and torch.equal(both[1], right)


def test_finer_renders_are_pooled_and_the_background_gives_way():
    """One fine pixel of an object claims a coarse pixel from the background; between objects the larger part wins."""
    a, b = torch.zeros(16, 16), torch.zeros(16, 16)
    a[0, 0] = 1
    a[4:6, 4], b[4, 5] = 1, 1
    b[8:10, 8:10] = 1
    coarse = masks(labels(a, b), 2)
    expected = torch.zeros(2, 8, 8)
    expected[0, 0, 0] = expected[0, 2, 2] = expected[1, 4, 4] = 1
    assert torch.equal(coarse, expected)


def test_a_pixel_belongs_to_whatever_shows_most_in_it():
    soft = torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.4, 0.3], [0.3, 0.2, 0.5]]).view(1, 1, 3, 3).expand(1, 3, -1, -1)
    a, b = masks(soft, 2, size=(3, 3))
    assert a[0].tolist() == [1, 0, 0] and b[0].tolist() == [0, 1, 0]


def test_prompts_and_labels_have_to_match(kit, prior):
    view = seen(kit, prior, labels(LEFT, 1 - LEFT), prior.prompts[0])
    with pytest.raises(Mistake, match="1 region prompts, but 2 labelled objects"):
        semantic(prior).gradient(view, kit.step())
    bare = Render(view.render.rgb, view.render.alpha, view.render.depth)
    with pytest.raises(Mistake, match="no object of this scene has a label"):
        semantic(prior).gradient(View(view.x, bare, view.cameras, view.text), kit.step())


# --- from the recipe to labels and rows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("halves, axis, sign", [("above", 2, 1), ("left", 0, -1)])
def test_halves_of_the_starting_ball_are_two_objects(halves, axis, sign):
    scene = Gaussians(torch.Generator().manual_seed(0), count=60, halves=halves)
    assert torch.equal(scene.label == 0, sign * scene.position[:, axis] >= 0)
    labels = scene.render(ring(1, elevation=0.0, size=16)).labels[0]
    assert labels.shape == (16, 16, 3)
    first, second = labels[..., :2].unbind(-1)
    half = (slice(0, 8),) if halves == "above" else (slice(None), slice(0, 8))
    assert first[half].sum() > 3 * second[half].sum()
    assert Gaussians(torch.Generator().manual_seed(0), count=60).render(ring(1, size=16)).labels is None


def test_a_term_is_given_region_prompts():
    """From the configuration to the rows, and a word that the prior does not know is found before any work."""
    found = config.load("semantic_sds-gaussian", ["prior={type: exact_joint, size: 8, instances: 1, others: 1}"])
    prior = build.make("priors", found.values["prior"])
    (term,) = assemble._terms(found.values, prior)
    rows = term.text(ring(4)).rows
    assert torch.equal(rows["region/0"].tokens[0], prior.text(["a red ball, front view"]).tokens[0])
    assert torch.equal(rows["region/1"].tokens[2], prior.text(["a blue cube, back view"]).tokens[0])
    assert not torch.equal(rows["region/0"].tokens, rows["region/1"].tokens) and "region/2" not in rows
    check_vocabulary(found)
    with pytest.raises(Mistake, match="does not know 'dragon'"):
        check_vocabulary(config.load("semantic_sds-gaussian", ["guidance.regions=a dragon | a blue cube"]))
