"""What several objects are over time, joined as they are handed over: those that stand still do so at every moment."""

import dataclasses

import torch
from dream3d.renderers._compose_data import Data, joined
from dream3d.renderers._compose_place import Place
from dream3d.renderers._solid import as_mesh
from jaxtyping import Float
from torch import Tensor

from dream3d.clips import Frames, MeshClip, Skin, SplatClip, posed
from dream3d.types import Field, Mesh, Points


def together(
    clips: list[MeshClip | SplatClip | Skin | None], handed: list[Data], places: list[Place], times: Float[Tensor, " T"]
) -> MeshClip | SplatClip | None:
    """`handed` is what every object is at time 0. None where all stand still, and where a mesh moves among Gaussians: the discs that
    stand for it there are others at every moment."""
    moves = [posed(clip) if isinstance(clip, Skin) else clip for clip in clips]
    moves = [None if clip is None or len(clip.times) != len(times) else clip for clip in moves]
    still = [as_mesh(data) if isinstance(data, Field) else data for data in handed]
    gaussian = any(isinstance(data, Points) for data in still)
    if not any(moves) or gaussian and any(isinstance(clip, MeshClip) for clip in moves):
        return None

    def frame(k: int) -> list[Points | Mesh]:
        return [data if clip is None else _frame(clip, k) for clip, data in zip(moves, still, strict=True)]

    if gaussian:
        return SplatClip(Frames(lambda k: joined(frame(k), places), len(times)), times)
    out = [torch.cat([place.out(mesh.vertices) for mesh, place in zip(frame(k), places, strict=True)]) for k in range(len(times))]
    return MeshClip(dataclasses.replace(joined(frame(0), places), vertices=out[0]), torch.stack(out), times)


def _frame(clip: MeshClip | SplatClip, k: int) -> Points | Mesh:
    if isinstance(clip, MeshClip):
        return dataclasses.replace(clip.mesh, vertices=clip.places[k])
    found = clip.frames[k]
    return dataclasses.replace(found, **{name: value.cpu() for name, value in vars(found).items() if value is not None})
