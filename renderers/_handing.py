"""From whatever an earlier stage hands over to a volume: read as a field, and fitted; and from a volume to a field.

Regression on random places, half of them near a surface, in the manner of progressive volume distillation (PVD, Fang et al.,
arXiv:2211.15977): there is no need to draw anything.
"""

import dataclasses

import torch
import torch.nn.functional as F
from dream3d.renderers import _fields, _march
from dream3d.renderers._latent import latents, shown
from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.optim import Adam
from dream3d.types import Field, Mesh, Points, Step

STEPS, BATCH = 400, 1 << 14  # of the fit
UNIT = 0.02  # metres that one step of raw distance is worth
CUT = 0.1  # metres from the surface beyond which a distance need not be exact


@torch.no_grad()
def gridded(volume) -> Field:
    """A volume on a grid whose outer nodes lie on the faces of its cube."""
    x = _march.lattice(volume.grid, volume.bound * (1 + 1 / (volume.grid - 1)), volume.width.device)
    parts = [volume.told(p) for p in x.split(max(volume.chunk // 4, 1))]
    geometry, colour = (torch.cat(column) for column in zip(*parts, strict=True))
    shape = (volume.grid,) * 3
    values = {"density" if volume.geometry == "density" else "distance": geometry.view(shape)}
    if volume.channels:
        decoder = None if volume.decoder is None else volume.decoder.clone()
        values |= {"features": colour.view(*shape, -1), "decoder": decoder}
        colour = shown(colour, decoder)
    return Field(volume.bound, **values, rgb=colour.view(*shape, 3))


def taken(volume, data: Points | Mesh | Field) -> Field:
    """Whatever it is, as a field. The map that shows its latents becomes the volume's: it may have learnt."""
    field = _fields.as_field(data, bound=volume.bound)
    if volume.decoder is not None and field.decoder is not None:
        with torch.no_grad():
            volume.decoder.copy_(field.decoder)
    return field


def wanted(volume, field: Field, x: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, " N"], Float[Tensor, "N K"]]:
    """What a volume's geometry and colour before their activations should be at world points."""
    return _raw_geometry(volume, field, x), _raw_colour(volume, field, x)


def _raw_geometry(volume, field: Field, x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
    if volume.geometry != "density":
        return (_fields.distance_at(field, x) - volume.start(x)) / UNIT
    return _inverse_softplus(_fields.density_at(field, x).clamp(1e-3, 1e3)) - volume.start(x)


def _inverse_softplus(y: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    return y + torch.log(-torch.expm1(-y))


def _raw_colour(volume, field: Field, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N K"]:
    if volume.channels and field.features is not None and field.features.shape[-1] == volume.channels:
        return _fields.read(field.features, field, x)
    rgb = torch.full_like(x, _fields.GREY) if field.rgb is None else _fields.read(field.rgb, field, x)
    if not volume.channels:
        return rgb.clamp(0.01, 0.99).logit()
    if volume.decoder is None:
        problem = f"colours do not say what {volume.channels} features are"
        raise Mistake(problem, where="renderer.features", fix="renderer.features=4")
    return latents(rgb, volume.channels, volume.decoder.detach())


def fit(volume, data: Points | Mesh | Field) -> None:
    """The volume's parameters so that it is like the data: what a section of a ray would lose, or the distance near the surface, and the
    colour there."""
    field, optimizer = taken(volume, data), Adam()
    solid = _fields.density(field).to(volume.width.device)
    distance = None if volume.geometry == "density" else _fields.distance(field)
    field = dataclasses.replace(field, density=solid, distance=distance)  # once, not at every step
    for index in range(STEPS):
        now = Step.make(index, STEPS, 0, salt="fit")
        x = _places(solid, field.bound, volume.bound, now)
        with torch.enable_grad():
            _gap(volume, field, x).backward()
        optimizer.step(volume.rates(now))


def _places(solid: Float[Tensor, "X Y Z"], extent: float, bound: float, now: Step) -> Float[Tensor, "N 3"]:
    """Half anywhere, half around nodes with something in them."""
    anywhere = (2 * now.uniform(BATCH // 2, 3) - 1) * bound
    crowd = (solid * 2 * extent / max(solid.shape) > 0.05).nonzero()
    pick = crowd[(now.uniform(BATCH // 2) * len(crowd)).long().clamp(max=max(len(crowd) - 1, 0))] if len(crowd) else crowd
    cell = 2 * extent / (torch.tensor(solid.shape) - 1).clamp(min=1).to(solid)
    near = pick * cell - extent + 2 * cell * now.normal(len(pick), 3).to(solid)
    return torch.cat([anywhere.to(solid), near]).clamp(-bound, bound)


def _gap(volume, field: Field, x: Float[Tensor, "N 3"]) -> Float[Tensor, ""]:
    raw, colour = volume.at(x / volume.bound, None)
    section = 2 * volume.bound / volume.samples
    light = 1 - torch.exp(-section * _fields.density_at(field, x))
    if volume.geometry == "density":
        shape = (1 - torch.exp(-section * volume.shaped(raw, x)) - light).abs()  # squares forgive a thin fog everywhere
    else:
        distance = _fields.distance_at(field, x)
        shape = ((volume.shaped(raw, x).clamp(-CUT, CUT) - distance.clamp(-CUT, CUT)) / CUT).square()
    paint = F.mse_loss(_seen(volume, colour), _seen(volume, _raw_colour(volume, field, x)), reduction="none").mean(-1)
    return (shape + (light + 0.01) * paint).mean()


def _seen(volume, raw: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    return raw if volume.channels else raw.sigmoid()
