"""Where cameras stand and what they see; backgrounds, prompts and roles that go with them."""

import dataclasses
import math

import pytest
import torch
from scipy import stats

from dream3d.background import Random, Solid
from dream3d.cameras import VIEW_WORDS, Front, Orbit, Orthogonal, Reference, look_at, ring, view_index
from dream3d.errors import Mistake
from dream3d.options import Words, regions
from dream3d.prompt import Prompt
from dream3d.types import Cameras, Embedding, Render, Step


def degrees(*values: float) -> torch.Tensor:
    return torch.deg2rad(torch.tensor(values))


def pixels(cameras: Cameras, points: torch.Tensor) -> torch.Tensor:
    """B N 2: an independent pinhole."""
    seen = torch.einsum("bij,nj->bni", cameras.to_camera[:, :3, :3], points) + cameras.to_camera[:, None, :3, 3]
    image = torch.einsum("bij,bnj->bni", cameras.intrinsics, seen)
    return image[..., :2] / image[..., 2:]


def test_azimuth_zero_sees_the_front_and_grows_towards_x():
    centres = look_at(degrees(0, 90, 180, 0), degrees(0, 0, 0, 90)).centre
    expected = torch.tensor([[0.0, -3, 0], [3, 0, 0], [0, 3, 0], [0, 0, 3]])
    torch.testing.assert_close(centres, expected, atol=1e-5, rtol=0)


def test_the_image_is_upright_and_not_mirrored():
    """From the front, +x is on the right and +z at the top, also from straight above, where +y is at the top."""
    cameras = look_at(degrees(0, 0), degrees(0, 90), size=100)
    right, up, away = pixels(cameras, torch.tensor([[0.3, 0, 0], [0, 0, 0.3], [0, 0.3, 0]])).unbind(1)
    middle = torch.full((2,), 50.0)
    assert (right[:, 0] > 55).all() and torch.allclose(right[:, 1], middle, atol=1e-3)
    assert up[0, 1] < 45 and away[1, 1] < 45
    assert torch.allclose(up[0, 0], middle[0], atol=1e-3) and torch.allclose(away[1, 0], middle[0], atol=1e-3)


def test_rotations_are_rotations():
    turn = look_at(degrees(10, 200, 300), degrees(-10, 45, 90)).to_world[:, :3, :3]
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand(3, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(3))


def test_rays_go_through_their_pixels_and_depth_is_their_length():
    cameras = look_at(degrees(20, 100), degrees(30, -5), size=(6, 8))
    origin, direction = cameras.rays()
    points = (origin + 2.5 * direction).flatten(1, 2)
    for b in range(2):
        one = cameras.at(torch.tensor([b]))
        x, y = pixels(one, points[b])[0].reshape(6, 8, 2).unbind(-1)
        torch.testing.assert_close(x, (torch.arange(8) + 0.5).expand(6, 8), atol=1e-3, rtol=0)
        torch.testing.assert_close(y, (torch.arange(6) + 0.5)[:, None].expand(6, 8), atol=1e-3, rtol=0)
        z = (one.to_camera[0, :3, :3] @ points[b].T + one.to_camera[0, :3, 3:])[2]
        torch.testing.assert_close(z, torch.full_like(z, 2.5))


def test_another_resolution_is_the_same_view():
    cameras, point = ring(2, size=32), torch.tensor([[0.2, -0.1, 0.3]])
    torch.testing.assert_close(4 * pixels(cameras, point), pixels(cameras.sized(128, 128), point))


def test_orbit_is_stratified_in_azimuth_and_uniform_by_area():
    """Kolmogorov-Smirnov on 8,000 cameras, p > 1e-4: error rate 2e-4 over both, seed fixed."""
    draws = [Orbit(8, batch=8, elevation=(-10.0, 75.0))(Step.make(i, 1000, 0)) for i in range(1000)]
    azimuth = torch.stack([torch.rad2deg(c.azimuth) for c in draws]) + 180
    assert (torch.floor(azimuth / 45) == torch.arange(8)).all()
    low, high = math.sin(math.radians(-10)), math.sin(math.radians(75))
    heights = torch.stack([c.elevation.sin() for c in draws]).flatten()
    assert stats.kstest(((heights - low) / (high - low)).numpy(), "uniform").pvalue > 1e-4
    assert stats.kstest((azimuth / 45 % 1).flatten().numpy(), "uniform").pvalue > 1e-4


def test_front_looks_at_the_same_side_every_time():
    cameras = Front(16, batch=3, azimuth=30.0)(Step.make(5, 10, 0))
    assert len(cameras) == 3 and cameras.height == 16
    torch.testing.assert_close(cameras.azimuth, degrees(30, 30, 30))


@pytest.mark.parametrize(
    "azimuth, elevation, word",
    [(0, 0, "front"), (44, 0, "front"), (-44, 59, "front"), (46, 0, "side"), (-90, 0, "side"), (134, 0, "side"),
     (136, 0, "back"), (180, 0, "back"), (-170, 0, "back"), (350, 0, "front"), (0, 61, "overhead"), (180, 89, "overhead")],
)  # fmt: skip
def test_view_words(azimuth, elevation, word):
    assert VIEW_WORDS[view_index(look_at(degrees(azimuth), degrees(elevation)))] == word


def blank(count: int) -> Render:
    alpha = torch.linspace(0, 1, count * 4).reshape(count, 2, 2, 1)
    return Render(alpha * torch.tensor([0.2, 0.4, 0.6]), alpha, alpha)


def test_a_background_composites_premultiplied_colour():
    now, cameras = Step.make(0, 1, 0), ring(3)
    over = Solid(color=(1.0, 0.5, 0.0))(blank(3), cameras, now)
    alpha = blank(3).alpha
    expected = alpha * torch.tensor([0.2, 0.4, 0.6]) + (1 - alpha) * torch.tensor([1.0, 0.5, 0.0])
    torch.testing.assert_close(over.rgb, expected)
    assert torch.equal(over.extras["background"], torch.tensor([1.0, 0.5, 0.0]).expand(3, 3))


def test_one_random_background_per_group_and_another_each_step():
    cameras = dataclasses.replace(ring(8), views=2, frames=2)
    colour = Random()(blank(8), cameras, Step.make(0, 9, 0)).extras["background"]
    assert (colour[:4] == colour[0]).all() and (colour[4:] == colour[4]).all() and not torch.equal(colour[0], colour[4])
    assert not torch.equal(colour, Random()(blank(8), cameras, Step.make(1, 9, 0)).extras["background"])
    assert (Random(white=1.0)(blank(8), cameras, Step.make(0, 9, 0)).extras["background"] == 1).all()


def test_the_source_scene_gets_the_same_background():
    both = dataclasses.replace(blank(2), source=blank(2))
    over = Random()(both, ring(2), Step.make(0, 1, 0))
    assert torch.equal(over.source.rgb, over.rgb)


def test_a_reference_stands_still_among_views_of_another_role():
    """Every view is a group of its own; the photo's is the last; the others are an orbit's."""
    sampler = Reference(16, batch=3, azimuth=30.0, elevation=10.0, distance=2.0, fovy=50.0)
    a, b = (sampler(Step.make(i, 10, 0)) for i in range(2))
    assert len(a) == 4 and a.serving("photo").tolist() == [3] and a.serving("orbit").tolist() == [0, 1, 2]
    expected = look_at(degrees(30), degrees(10), 2.0, math.radians(50), size=16)
    for cameras in (a, b):
        torch.testing.assert_close(cameras.to_world[3:], expected.to_world, atol=1e-5, rtol=0)
        torch.testing.assert_close(cameras.intrinsics, expected.intrinsics.expand(4, 3, 3))
        torch.testing.assert_close(torch.stack([cameras.azimuth[3], cameras.elevation[3]]), degrees(30, 10))
    orbit = Orbit(16, batch=3, distance=(2.0, 2.0), fovy=(50.0, 50.0))(Step.make(0, 10, 0))
    torch.testing.assert_close(a.to_world[:3], orbit.to_world)
    assert not torch.equal(a.to_world[:3], b.to_world[:3]) and a.group.tolist() == [0, 1, 2, 3]


def test_groups_stand_evenly_around_the_object():
    """Views of a group share elevation, distance and lens; groups differ; four views are 90 degrees apart."""
    sampler = Orthogonal(32, batch=12, views=4, elevation=(0.0, 30.0), distance=(2.0, 4.0), fovy=(30.0, 60.0))
    cameras = sampler(Step.make(0, 10, 0))
    assert (len(cameras), cameras.views, cameras.height) == (12, 4, 32)
    turn = cameras.azimuth.view(3, 4) - cameras.azimuth.view(3, 4)[:, :1]
    torch.testing.assert_close(turn, degrees(0, 90, 180, 270).expand(3, 4), atol=1e-5, rtol=0)
    distance = cameras.centre.norm(dim=1)
    for value in (cameras.elevation, distance, cameras.intrinsics[:, 0, 0]):
        torch.testing.assert_close(value.view(3, 4), value.view(3, 4)[:, :1].expand(3, 4))
        assert len(value.view(3, 4)[:, 0].unique()) == 3
    assert distance.min() > 2 and distance.max() < 4 and cameras.elevation.min() >= 0
    fovy = torch.rad2deg(2 * torch.atan(16 / cameras.intrinsics[:, 1, 1]))
    assert fovy.min() > 30 and fovy.max() < 60 and fovy.max() - fovy.min() > 1
    assert cameras.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    first = Orbit(32, batch=3, elevation=(0.0, 30.0))(Step.make(0, 10, 0))
    torch.testing.assert_close(cameras.azimuth[::4], first.azimuth)  # stratified as Orbit's are
    with pytest.raises(Mistake, match="6 is not a number of groups of 4 views"):
        Orthogonal(32, batch=6)


@pytest.mark.parametrize("frames", [2, 5])
@pytest.mark.parametrize("kind, groups, views", [(Orbit, 6, 1), (Orthogonal, 2, 3), (Front, 6, 1)])
def test_a_clip_is_one_pose_at_even_times(kind, groups, views, frames):
    """Frames are fastest; the cameras of a step are those of a still scene, each repeated; a group is views x frames rows."""
    more = {"views": 3} if kind is Orthogonal else {}
    still, clip = (kind(16, batch=6, **more, **f)(Step.make(2, 9, 0)) for f in ({}, {"frames": frames}))
    assert (len(clip), clip.frames, clip.views, still.time) == (6 * frames, frames, views, None)
    for name in ("to_world", "intrinsics", "azimuth", "elevation"):
        assert torch.equal(getattr(clip, name), getattr(still, name).repeat_interleave(frames, 0))
    expected = [f / (frames - 1) for f in range(frames)]
    torch.testing.assert_close(clip.time.view(6, frames), torch.tensor(expected).expand(6, frames))
    assert (clip.time.view(6, frames)[:, 0] == 0).all() and (clip.time.view(6, frames)[:, -1] == 1).all()
    assert clip.group.tolist() == [g for g in range(groups) for _ in range(views * frames)]


class Spelling:
    """A text encoder that remembers: row i is the number i."""

    def text(self, prompts: list[str]) -> Embedding:
        self.prompts = prompts
        return Embedding(torch.arange(len(prompts)).float()[:, None, None])


def rows(prompts: list[str], cameras: Cameras, words: Words = Words(), **more) -> dict[str, list[str]]:
    prior = Spelling()
    text = Prompt(_as_prior(prior), prompts, "ugly", words, **more)
    return {name: [prior.prompts[int(i)] for i in e.tokens[:, 0, 0]] for name, e in text(cameras).rows.items()}


def _as_prior(spelling: Spelling):
    from dream3d.priors.mixture import Mixture

    prior = Mixture()
    prior.text = spelling.text
    return prior


def test_each_view_is_told_what_it_sees():
    cameras = look_at(degrees(0, 90, 180, 0), degrees(0, 0, 0, 80))
    got = rows(["a fox: cub"], cameras)
    assert got["text"] == [f"a fox: cub, {word} view" for word in VIEW_WORDS]
    assert got["bare"] == ["a fox: cub"] * 4 and got["negative"] == ["ugly"] * 4 and got["empty"] == [""] * 4
    assert got["back"] == ["a fox: cub, back view"] * 4
    assert rows(["a fox"], cameras, Words(views=False))["text"] == ["a fox"] * 4
    assert rows(["a fox"], cameras, Words(overhead=85.0))["text"][3] == "a fox, front view"


def test_subjects_take_their_prompts_in_turn():
    cameras = look_at(degrees(0, 0, 180), degrees(0, 0, 0), subject=torch.tensor([0, 1, 3]))
    assert rows(["a cat", "a dog"], cameras)["text"] == ["a cat, front view", "a dog, front view", "a dog, back view"]


def test_regions_have_prompts_of_their_own():
    """They are told the view as the prompt is, whatever the subject, and leave the other rows as they were."""
    cameras = look_at(degrees(0, 180), degrees(0, 0), subject=torch.tensor([0, 1]))
    got = rows(["a cat", "a dog"], cameras, regions=["a hat", "a tail"])
    assert got["region/0"] == ["a hat, front view", "a hat, back view"]
    assert got["region/1"] == ["a tail, front view", "a tail, back view"]
    assert rows(["a cat"], cameras, Words(views=False), regions=["a hat"])["region/0"] == ["a hat"] * 2
    assert rows(["a cat", "a dog"], cameras) == {k: v for k, v in got.items() if not k.startswith("region/")}
    assert regions("a red ball |a blue cube") == ["a red ball", "a blue cube"] and regions(None) == []


def test_streams_of_randomness_do_not_meet():
    """Other index, seed, salt, stage or name: other numbers. Two equal 64-bit draws by chance: below 1e-12."""
    streams = [Step.make(i, 50, seed, salt=salt) for i in range(50) for seed in (0, 1, 2) for salt in (-1, 0, 1, 1000)]
    draws = [tuple(step.normal(4).tolist()) for step in streams]
    names = ("a", "b", "ab", "ba")
    draws += [tuple(Step.make(0, 50, seed).fixed(name, 4).tolist()) for seed in (0, 1) for name in names]
    assert len(set(draws)) == len(draws)
    assert torch.equal(Step.make(3, 9, 4).fixed("x", 5), Step.make(7, 9, 4).fixed("x", 5))
    assert torch.equal(Step.make(3, 9, 4).normal(5), Step.make(3, 9, 4).normal(5))
