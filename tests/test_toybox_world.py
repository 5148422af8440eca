"""What is built: the same bytes for a seed, inside the box, in the colour that was named."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from dream3d.cameras import look_at, ring
from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS, Thing, Wish, parse
from dream3d.toybox.mesh import truth
from dream3d.toybox.render import render
from dream3d.toybox.world import MODULES, build, instance_seed


def _arrays(soup):
    return {f.name: getattr(soup, f.name) for f in dataclasses.fields(soup) if f.name not in ("parts", "wish")}


def test_every_object_has_one_builder():
    names = [name for module in MODULES for name in module.NATURAL]
    assert sorted(names) == sorted(OBJECTS)


@pytest.mark.parametrize("name", OBJECTS)
def test_seeds(name):
    first, again, other = (build(Wish((Thing(name),)), seed) for seed in (4, 4, 5))
    assert all(np.array_equal(a, _arrays(again)[key]) for key, a in _arrays(first).items())
    assert first.pose.shape != other.pose.shape or not np.allclose(first.pose, other.pose, atol=1e-3)


def test_streams_never_meet():
    seeds = [instance_seed(split, i) for split in ("prior", "judge", "test") for i in range(1000)]
    assert len(set(seeds)) == 3000


def test_anything_fills_in_the_wish():
    things = [build(Wish(view="side"), seed).wish for seed in range(200)]
    assert all(len(wish.things) == 1 and wish.view == "side" for wish in things)
    assert len({wish.things[0].name for wish in things}) > 25
    assert {wish.things[0].pattern for wish in things} == {None, *PATTERNS}


@pytest.mark.parametrize("name", OBJECTS)
def test_inside_the_box_and_the_lens(name):
    for seed in range(3):
        vertices = truth(build(Wish((Thing(name, "red"),)), seed), fine=6).vertices
        assert (
            vertices.abs().max() <= 0.75 and vertices.norm(dim=-1).max() < 1.026
        )  # 3 sin 20 degrees: never cut by the frame
        size = vertices.amax(0) - vertices.amin(0)
        assert size.max() > 0.95  # it fills the box or the lens
        assert (vertices.amax(0) + vertices.amin(0)).abs().max() < 0.03


def test_all_pairs():
    for i, (a, b) in enumerate(itertools.product(OBJECTS, OBJECTS)):
        relation = ("on", "next to")[(i + i // len(OBJECTS)) % 2]
        soup = build(Wish((Thing(a, "red"), Thing(b, "blue")), relation), i)
        first, second = (soup.pose[soup.thing == k, :3, 3] for k in (0, 1))
        apart = first[:, 2].min() - second[:, 2].min() if relation == "on" else second[:, 0].mean() - first[:, 0].mean()
        assert np.abs(soup.pose[:, :3, 3]).max() < 0.75 and apart > 0.05, (a, relation, b)


def test_pairs_fit_and_show_both():
    wishes = [
        parse(f"a red {a} {r} a blue {b}")
        for (a, b), r in itertools.product((("ball", "cube"), ("cat", "chair"), ("tree", "car")), ("on", "next to"))
    ]
    soups = [build(wish, 3) for wish in wishes]
    assert all(truth(soup).vertices.abs().max() <= 0.75 for soup in soups)
    front = look_at(torch.full((6,), 0.4), torch.full((6,), 0.3), subject=torch.arange(6))
    labels = render(soups, front, buffers=("labels",)).labels
    assert labels.shape[-1] == 3 and labels.mean((1, 2)).min() > 0.02
    assert all(part.startswith(("cat ", "chair ")) for part in soups[2].parts)


@pytest.mark.parametrize("name", OBJECTS)
def test_the_named_colour_dominates(name):
    """Over a ring of views, no fixed colour of the object covers as much as the named one."""
    colours = list(COLOURS)
    soups = [build(Wish((Thing(name, c),)), 7) for c in colours]
    azimuth = torch.arange(6).repeat(len(colours)) * (math.pi / 3)
    cameras = look_at(
        azimuth, torch.full_like(azimuth, 0.26), size=32, subject=torch.arange(len(colours)).repeat_interleave(6)
    )
    shown = render(soups, cameras, buffers=("alpha", "albedo"))
    albedo = shown.extras["albedo"].reshape(len(colours), -1, 3)
    solid = shown.alpha.reshape(len(colours), -1) == 1
    for soup, colour, image, mask in zip(soups, colours, albedo, solid, strict=True):
        palette = np.unique(soup.colour, axis=0)
        near = (image[mask][:, None] - torch.from_numpy(palette).float()).abs().amax(-1) < 0.02
        best = palette[near.float().mean(0).argmax()]
        assert np.abs(best - COLOURS[colour]).max() < 0.1, (colour, best)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_have_two_tones(pattern):
    for name, colour in itertools.product(("ball", "cube", "table", "car"), COLOURS):
        soup = build(Wish((Thing(name, colour, pattern),)), 1)
        assert np.abs(soup.colour - soup.second)[soup.pattern > 0].max(1).min() > 0.2
        albedo = render([soup], ring(4, size=48), buffers=("albedo",), supersample=1).extras["albedo"].reshape(-1, 3)
        main = int(soup.pattern.argmax())
        tones = [(albedo - torch.from_numpy(c[main]).float()).abs().amax(-1) < 1e-3 for c in (soup.colour, soup.second)]
        share = tones[1].sum() / (tones[0].sum() + tones[1].sum())
        assert 0.15 < share < 0.7, (name, colour, share)


def test_mesh_parts_are_closed_and_named():
    trimesh = pytest.importorskip("trimesh")
    for name in OBJECTS:
        soup = build(Wish((Thing(name),)), 2)
        mesh = truth(soup, fine=5)
        solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
        assert solid.is_watertight and solid.is_winding_consistent and solid.volume > 0
        assert set(mesh.label.tolist()) == set(range(len(soup.parts)))
