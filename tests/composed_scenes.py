"""Scenes of several objects for tests."""


from pathlib import Path

import torch
from dream3d.renderers.composed import Composed
from dream3d.renderers.gaussians import Gaussians
from dream3d.renderers.mesh import TriangleMesh

from dream3d.cameras import Orbit
from dream3d.export.splat import write_ply
from dream3d.optim import Adam
from dream3d.types import Render, Step

WHOLE = {"centre": [0.0, 0.0, 0.0], "size": 1.5}  # an object in its own frame
LEFT, RIGHT = {"centre": [-0.35, 0.1, 0.05], "size": 0.6}, {"centre": [0.3, -0.1, -0.05], "size": 0.5}
FEW = {"type": "gaussians", "count": 40, "opacity": 0.6}
BALL = {"type": "mesh", "faces": 320, "remesh_every": 0.0}


def scene(*things: dict, common: dict = FEW, overlap: bool = True, **settings) -> Composed:
    objects = [{"name": f"thing {i}", **thing} for i, thing in enumerate(things)]
    return Composed(torch.Generator().manual_seed(0), layout={"objects": objects, "overlap": overlap}, object=common, **settings)


def two(**settings) -> Composed:
    """Two that stand apart, one of them turned."""
    made = scene({"box": LEFT}, {"box": RIGHT, "rotation": [20.0, -30.0, 70.0]}, **settings)
    for i, part in enumerate(made.parts):
        paint(part, i)
    return made


def paint(part, seed: int) -> None:
    """Colours, and what else shows in pictures, at random."""
    g = torch.Generator().manual_seed(seed)
    if isinstance(part, Gaussians):
        part.colour.data.uniform_(0.1, 0.9, generator=g)
        part.rotation.data += 0.5 * torch.randn(part.rotation.shape, generator=g)
        part.log_scale.data += 0.3 * torch.randn(part.log_scale.shape, generator=g)
        part.harmonics.data += 0.2 * torch.randn(part.harmonics.shape, generator=g)
    elif isinstance(part, TriangleMesh):
        part.look.colour.data.uniform_(0.1, 0.9, generator=g)


def step(index: int = 0, total: int = 20) -> Step:
    return Step.make(index, total, 3)


def pull(made, index: int, optimizer: Adam, total: int = 20) -> None:
    """One step of optimisation against random colours, with what comes after it."""
    now = step(index, total)
    render = made.render(Orbit(20, batch=2)(now), now)
    (render.rgb * torch.rand(render.rgb.shape, generator=now.rng)).sum().backward()
    assert optimizer.step(made.groups(now))
    made.refine(render, optimizer, now)


def same(a: Render, b: Render, *names: str, atol: float = 2e-5) -> None:
    for name in names or a.buffers():
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=atol, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def splats(path: Path, seed: int) -> Path:
    made = Gaussians(torch.Generator().manual_seed(seed), count=30)
    paint(made, seed)
    write_ply(made.handover(), path)
    return path
