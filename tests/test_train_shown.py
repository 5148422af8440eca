"""What the tiers over latents are shown: views of one thing, clips, holes, poses, depths."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from dream3d.cameras import look_at
from dream3d.toybox.training import data, kinds
from dream3d.toybox.training.presets import TIERS

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dream3d[diffusion]")

def shown(name, count=8, **more):
    mix = dataclasses.replace(TIERS[name].mix, **more)
    return kinds.drawn(TIERS[name])(order := data.Order(count, 1, 16, 5, mix), 0, data.scenes(order, 0))


def test_four_views_are_of_one_thing_and_told_from_where():
    """The first pose of a group and the third look at each other; only words about the view differ within a group."""
    rows = shown("toybox-mv", silent=0.0, viewless=0.5)
    assert rows["x"].shape == (8, 4, 3, 16, 16) and rows["pose"].shape == (8, 4, 16)
    corner = rows["x"][:, :, :, 0, 0]
    assert torch.equal(corner, corner[:, :1].expand_as(corner)) and corner.std(0).min() > 0.1
    centre = rows["pose"].unflatten(2, (4, 4))[..., :3, 3]
    torch.testing.assert_close(centre[:, 0, :2], -centre[:, 2, :2], rtol=0, atol=1e-5)
    cut = [[text.removesuffix(" view").rpartition(", ")[0] or text for text in group] for group in rows["said"]]
    assert all(len(set(group)) == 1 for group in cut) and any(len(set(group)) > 1 for group in rows["said"])


def test_clips_move_and_cameras_do_not():
    rows = shown("toybox-video", moving=1.0, silent=0.0)
    change = (rows["x"][:, 1:] - rows["x"][:, :1]).abs().flatten(2)
    assert rows["x"].shape == (8, 8, 3, 16, 16) and (change.amax((1, 2)) > 0.1).all() and change[:, :, :3].max() < 0.5
    assert all(any(word in text for word in data.MOTIONS) for text in rows["said"])


def test_holes_are_of_every_kind():
    from dream3d.toybox.training.shown import holes

    masks = holes(400, 16, torch.Generator().manual_seed(0))
    share = masks.mean((1, 2, 3))
    assert set(masks.unique().tolist()) == {0.0, 1.0} and 0.2 < (share == 1).float().mean() < 0.35 and share.min() < 0.2


def test_the_pose_between_two_pictures_is_what_the_prior_tells():
    from dream3d.priors.zero123 import Zero123
    from dream3d.toybox.training.shown import turned

    rows = shown("toybox-view")
    assert not torch.equal(rows["x"], rows["picture"]) and rows["pose"].shape == (8, 4) and (rows["x"][:, :, 0, 0] == 1).all()
    to, beside = look_at(torch.rand(5), torch.rand(5)), look_at(torch.full((5,), 0.3), torch.full((5,), 0.2))
    prior = SimpleNamespace(azimuth=0.3, elevation=0.2, distance=None, stable=False, latent=torch.zeros(1))
    torch.testing.assert_close(turned(to, beside), Zero123.pose(prior, to, 5))


def test_depth_is_grey_and_an_autoencoder_sees_depths_too():
    rows = shown("toybox-rgbd")
    assert torch.equal(rows["depth"][:, :1].expand(-1, 3, -1, -1), rows["depth"]) and rows["depth"].amax((1, 2, 3)).min() > 0.5
    draw, order = kinds.drawn(TIERS["toybox-latent"]), data.Order(16, 1, 16, 5, early=1)
    early, late = (draw(order, i, data.scenes(order, i)) for i in (0, 1))
    grey = [(x - x.mean(1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-6 for x in (early["x"], late["x"])]
    assert grey[0].sum() >= 2 > grey[1].sum() and set(early["said"]) == {""} != set(late["said"])
