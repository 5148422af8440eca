"""What a surface is made of: numbers per vertex, per texel, or in a field, told for any place on the surface.

Places are (face, barycentric weights), so that a rasteriser's hits, texels and samples are asked for alike. Numbers are stored as they
are and shown in [0, 1] (`_backends/unit.py`); a field's pass a sigmoid. With `pbr` there are roughness and metalness beside the albedo,
and in textures a tangent-space normal. With `features` there are latent channels instead of colours (Latent-Paint of Latent-NeRF, Metzer
et al., arXiv:2211.07600), which a fixed linear map shows.
"""

import dataclasses
from abc import abstractmethod

import torch
import torch.nn.functional as F
from dream3d.renderers._atlas import Atlas, between, painted, places, resized, sampled, tangents, taps, uv_at
from dream3d.renderers._backends import hash_cuda
from dream3d.renderers._backends.hash_choice import kernel
from dream3d.renderers._backends.hash_rows import rows
from dream3d.renderers._backends.unit import unit
from dream3d.renderers._latent import latents, shown
from dream3d.renderers._mlp import MLP
from dream3d.renderers._shading import Material
from dream3d.renderers.hashgrid import BACKENDS, spread
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.export.texture import unwrap
from dream3d.interfaces import Group
from dream3d.optim import Adam
from dream3d.types import Mesh

ROUGH, METAL = 0.6, 0.05  # where materials start
RESOLUTIONS, ENTRIES = spread(16, 256, 8), 1 << 15
FIT, PLACES = 120, 1 << 13  # steps and places with which a field learns the colours of a mesh


class Appearance(nn.Module):
    """What the three kinds share. `features`: latent channels instead of colours; `pbr`: materials."""

    bumps = False

    def __init__(self, features: int, pbr: bool):
        super().__init__()
        if features and pbr:
            raise Mistake("latent features have no material", where="renderer.features", fix="shading: albedo, or features: 0")
        self.features, self.pbr = features, pbr
        self.channels = features or 3 + pbr * (2 + 2 * self.bumps)

    @abstractmethod
    def values(
        self, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"], vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]
    ) -> Float[Tensor, "n C"]:
        """All channels at places of the surface; but for latents in [0, 1]."""

    @abstractmethod
    def groups(self, lr: float) -> list[Group]:
        """What is learnt, and how fast."""

    @abstractmethod
    def paint(self, mesh: Mesh) -> None:
        """Start as this mesh looks: its texture and materials, its vertices' colours, or grey."""

    def at(
        self, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"], vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]
    ) -> Material:
        """The surface at places of it."""
        values = self.values(face, weights, vertices, faces)
        if self.features:
            return Material(shown(values), features=values)
        rgb, rough, bump = values.split([3, *((2, 2) if self.bumps else (2, 0))], -1) if self.pbr else (values, None, None)
        return Material(rgb, rough, self._offset(face, weights, vertices, faces, bump) if self.bumps and self.pbr else None)

    def _offset(self, face, weights, vertices, faces, bump) -> Float[Tensor, "n 3"]:
        raise NotImplementedError

    def onto(self, mesh: Mesh, texture: int) -> Mesh:
        """The mesh with a texture of `texture` texels a side, and materials where there are some."""
        atlas = Atlas(unwrap(mesh, texture).uv, texture)
        with torch.no_grad():
            device = next(self.parameters()).device
            values = self.values(*(v.to(device) for v in (atlas.face, atlas.weights, mesh.vertices, mesh.faces)))
        return self._textured(mesh, atlas, values.cpu())

    def restore(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state_dict`, also for another number of rows."""
        self.colour = nn.Parameter(state["colour"].clone().to(self.colour.device))

    def _textured(self, mesh: Mesh, atlas: "Atlas", values: Float[Tensor, "T C"]) -> Mesh:
        image = (shown(values) if self.features else values)[atlas.nearest].view(atlas.size, atlas.size, -1).flip(0)
        rgb, rest = image[..., :3].contiguous(), image[..., 3:]
        orm = torch.cat([torch.ones_like(rest[..., :1]), rest[..., :2]], -1) if self.pbr else None
        bump = None
        if self.pbr and self.bumps:
            slope = 2 * rest[..., 2:] - 1
            bump = F.normalize(torch.cat([slope, torch.ones_like(slope[..., :1])], -1), dim=-1)
        return dataclasses.replace(mesh, rgb=None, uv=atlas.uv, texture=rgb, orm=orm, bump=bump)

    def _stored(
        self, mesh: Mesh, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"], texel: Int[Tensor, " n"] | None = None
    ) -> Float[Tensor, "n C"]:
        """What `values` should say at places of a mesh; where it has maps, at their `texel`s (rows from the bottom) if these are told."""

        def of(image: Float[Tensor, "h w 3"]) -> Float[Tensor, "n 3"]:
            return sampled(image, uv_at(mesh, face, weights)) if texel is None else image.flip(0).reshape(-1, 3)[texel]

        columns = [painted(mesh, face, weights) if texel is None or mesh.texture is None else of(mesh.texture)]
        if self.features:
            return latents(columns[0], self.features)
        if self.pbr:
            rough = columns[0].new_tensor([ROUGH, METAL]).expand(len(face), 2)
            columns.append(rough if mesh.orm is None else of(mesh.orm)[:, 1:])
        if self.pbr and self.bumps:
            flat = torch.full_like(columns[1], 0.5)
            columns.append(flat if mesh.bump is None else _slope(of(mesh.bump)))
        return torch.cat(columns, -1)


class Vertex(Appearance):
    """A row of numbers per vertex."""

    def __init__(self, rng: torch.Generator, *, features: int = 0, pbr: bool = False, **_):
        super().__init__(features, pbr)
        self.colour = nn.Parameter(torch.zeros(0, self.channels))

    def values(self, face, weights, vertices, faces):
        rows = self.colour if self.features else unit(self.colour)
        return between(rows, faces[face], weights)

    def groups(self, lr: float) -> list[Group]:
        return [Group("colour", self.colour, lr)]

    def paint(self, mesh: Mesh) -> None:
        corner = torch.arange(3).repeat(len(mesh.faces))
        values = self._stored(mesh, torch.arange(len(mesh.faces)).repeat_interleave(3), torch.eye(3)[corner])
        rows = torch.zeros(len(mesh.vertices), 1 + self.channels)
        rows.index_add_(0, mesh.faces.flatten(), F.pad(values, (1, 0), value=1.0))
        self.colour = nn.Parameter((rows[:, 1:] / rows[:, :1].clamp(min=1)).to(self.colour.device))

    def onto(self, mesh: Mesh, texture: int) -> Mesh:
        if self.pbr:
            return super().onto(mesh, texture)
        colour = self.colour.detach().cpu()
        rgb = shown(colour) if self.features else colour.clamp(0, 1)
        return dataclasses.replace(mesh, rgb=rgb.clone())


class Texture(Appearance):
    """A row of numbers per texel that a face covers; the others repeat the nearest of these, so that nothing bleeds across seams. A mesh
    without uvs is unwrapped, another keeps its own."""

    bumps = True

    def __init__(self, rng: torch.Generator, *, texture: int = 512, features: int = 0, pbr: bool = False, **_):
        super().__init__(features, pbr)
        self.size = texture
        self.colour = nn.Parameter(torch.zeros(0, self.channels))
        self.register_buffer("uv", torch.zeros(0, 3, 2))
        self.register_buffer("nearest", torch.zeros(0, dtype=torch.long), persistent=False)

    def lay(self, uv: Float[Tensor, "F 3 2"]) -> "Atlas":
        """Use these uvs."""
        atlas, device = Atlas(uv, self.size), self.colour.device
        self.uv, self.nearest, self.repeats = uv.to(device), atlas.nearest.to(device), atlas.repeats
        return atlas

    def values(self, face, weights, vertices, faces):
        rows = self.colour if self.features else unit(self.colour)
        index, mix = taps((weights[..., None] * self.uv[face]).sum(1), self.size, self.repeats)
        return (rows.index_select(0, self.nearest[index].flatten()).view(*index.shape, rows.shape[1]) * mix[..., None]).sum(1)

    def restore(self, state: dict[str, Tensor]) -> None:
        self.lay(state["uv"].cpu())
        super().restore(state)

    def _offset(self, face, weights, vertices, faces, bump):
        """Along the directions in which u and v grow. Height is seen from outside."""
        along, up = tangents(vertices.detach()[faces[face]], self.uv[face])
        slope = 2 * bump - 1
        return slope[:, :1] * along + slope[:, 1:] * up

    def groups(self, lr: float) -> list[Group]:
        return [Group("colour", self.colour, lr)]

    def paint(self, mesh: Mesh) -> None:
        atlas = self.lay(unwrap(mesh, self.size).uv if mesh.uv is None else mesh.uv)
        maps = {name: resized(getattr(mesh, name), self.size) for name in ("texture", "orm", "bump")}
        own = None if mesh.uv is None else atlas.index  # its own texels exactly
        values = self._stored(dataclasses.replace(mesh, **maps), atlas.face, atlas.weights, own)
        self.colour = nn.Parameter(values.to(self.colour.device))

    def onto(self, mesh: Mesh, texture: int) -> Mesh:
        values = self.colour.detach().cpu()
        return self._textured(mesh, Atlas(self.uv.cpu(), self.size), values if self.features else values.clamp(0, 1))


class Hashed(Appearance):
    """A field in space: a hash grid over [-bound, bound]^3 and a perceptron (as renderers/hashgrid.py)."""

    def __init__(self, rng: torch.Generator, *, features: int = 0, pbr: bool = False, bound: float = 0.8, **_):
        super().__init__(features, pbr)
        self.bound = bound
        self.table = nn.Parameter(2e-4 * torch.rand(rows(RESOLUTIONS, ENTRIES)[-1], 2, generator=rng) - 1e-4)
        self.net = MLP(rng, 2 * len(RESOLUTIONS), 32, 1, self.channels)
        if pbr:
            self.net.biases[-1].data[3:] = torch.tensor([ROUGH, METAL]).logit()

    def values(self, face, weights, vertices, faces):
        raw = self.raw(between(vertices, faces[face], weights))
        return raw if self.features else raw.sigmoid()

    def raw(self, x: Float[Tensor, "n 3"]) -> Float[Tensor, "n C"]:
        """All channels before the sigmoid at points of the world."""
        name, _ = kernel(self.table.device.type, self.table.dtype == torch.float32, trouble=hash_cuda.trouble)
        at = (x / self.bound / 2 + 0.5).clamp(0, 1)
        return self.net(BACKENDS[name].encode(at, self.table, RESOLUTIONS, ENTRIES))

    def groups(self, lr: float) -> list[Group]:
        return [Group("table", self.table, lr)] + [Group(f"net.{name}", p, lr / 5) for name, p in self.net.named_parameters()]

    def restore(self, state: dict[str, Tensor]) -> None:
        self.load_state_dict(state)

    def paint(self, mesh: Mesh) -> None:
        if mesh.rgb is None and mesh.texture is None:
            return
        face, weights = places(mesh, FIT * PLACES)
        x = between(mesh.vertices, mesh.faces[face], weights).to(self.table)
        wanted, optimizer = self._stored(mesh, face, weights).to(self.table), Adam()
        for index in range(FIT):
            some = slice(index, None, FIT)
            with torch.enable_grad():
                raw = self.raw(x[some])
                F.mse_loss(raw if self.features else raw.sigmoid(), wanted[some], reduction="sum").backward()
            optimizer.step(self.groups(0.03 * (1 - index / FIT)))


KINDS = {"vertex": Vertex, "texture": Texture, "field": Hashed}


def appearance(kind: str, rng: torch.Generator, **settings) -> Appearance:
    """By name: "vertex", "texture" (takes `texture`, its side), "field" (takes `bound`); all take `features` and `pbr`."""
    return KINDS[kind](rng, **settings)


def _slope(normal: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"]:
    return (normal[:, :2] / normal[:, 2:].clamp(min=0.1)).clamp(-1, 1) / 2 + 0.5
