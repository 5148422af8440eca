"""Surfaces of soft things, moved by pictures: nearer to the colours, with the outlines that they had; the same each time."""

import torch
import torch.nn.functional as F

from dream3d import build
from dream3d.bench.bake import compared
from dream3d.export import fit
from dream3d.export.clean import clean
from dream3d.export.decimate import closed
from dream3d.export.density import surface_of
from dream3d.export.fit import fitted
from dream3d.export.health import health
from dream3d.export.stock import Stock
from dream3d.export.texture import bake
from dream3d.interfaces import Representation
from dream3d.options import Export
from dream3d.types import Points


def soft() -> Representation:
    """A ball of thin Gaussians, in squares of colour: what a view sees lies below the outlines."""
    rng = torch.Generator().manual_seed(0)
    way = F.normalize(torch.randn(2500, 3, generator=rng), dim=-1)
    place = way * (0.34 + 0.1 * torch.rand(2500, 1, generator=rng))
    colour = 0.1 + 0.8 * ((way * 6).floor() % 2)
    points = Points(place, colour, torch.full((2500, 3), 0.03), torch.eye(4)[:1].expand(2500, 4), torch.full((2500,), 0.2))
    scene = build.make("renderers", {"type": "gaussians", "count": 1}, rng)
    scene.init_from(points)
    return scene


@torch.no_grad()
def test_the_surface_of_soft_things_comes_nearer_to_their_colours(monkeypatch):
    monkeypatch.setattr(fit, "STAGES", ((4, 30, 0.0, 0.1), (4, 90, 0.05, 0.02)))
    monkeypatch.setattr(fit, "VIEWS", 48)
    scene = soft()
    before, _ = clean(surface_of(scene.handover(), resolution=64, scene=scene))
    after = fitted(before, scene)
    assert after.faces.equal(before.faces) and closed(after.faces)
    baked = [bake(mesh, scene, faces=2000, texture=256, size=192, uv="fast") for mesh in (before, after)]
    was, now = (compared(scene, mesh, size=128) for mesh in baked)
    assert now["psnr"] > was["psnr"] + 1.5 and now["iou"] > 0.9
    assert health(baked[1]).sound


@torch.no_grad()
def test_the_share_that_is_done_grows_with_the_work(monkeypatch):
    """Else the time left is told from a share that stands still."""
    monkeypatch.setattr(fit, "STAGES", ((2, 4, 0.0, 0.1),))
    monkeypatch.setattr(fit, "VIEWS", 8)
    stock = Stock(soft(), Export(faces=500, texture=64, size=48, resolution=32, uv="fast"))
    heard: list[tuple[str, float]] = []
    stock.tell = lambda what, share: heard.append((what, share))
    stock.mesh(0)
    shares = [share for _, share in heard]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] < 1
    fits = [share for what, share in heard if what.startswith("fit ")]
    assert len({*fits}) == len(fits) == 4 and dict(heard)["decimate"] >= fits[-1] > 0.4
