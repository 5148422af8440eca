"""What light does to a surface: a lamp near the camera (DreamFusion, Poole et al., arXiv:2209.14988), or an environment.

The environment is summed in two factors (Karis, "Real Shading in Unreal Engine 4", SIGGRAPH 2013): its radiance filtered by the GGX lobe
seen from the front, times what a lobe reflects in all. Light that bounces more than once between microfacets is added back after
Fdez-Aguera ("A Multiple-Scattering Microfacet Model for Real-Time Image-based Lighting", JCGT 2019): a white surface of any roughness
and metalness returns a constant environment exactly. What remains is the first factor's error where the environment is not constant: a
lobe seen at a grazing angle is long, and is taken as round. In the studio, up to 60 degrees, that is 3 to 13 per cent of the light.
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from dream3d.renderers._backends.unit import unit
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.types import Cameras, Step

BUILT_IN = ("studio", "constant")
SHARP, SOFT, LEVELS = 128, 32, 6  # rows of the mirrored environment, of the filtered ones, and how many of these
TABLE, SAMPLES = 33, 1024  # nodes a side of the second factor, and directions for each
DIELECTRIC = 0.04  # what a non-metal reflects head-on
SMOOTHEST = 0.04  # a smaller roughness is a mirror already


def to_linear(display: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Display sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return torch.where(display <= 0.04045, display / 12.92, ((display.clamp(min=0.04) + 0.055) / 1.055) ** 2.4)


def to_display(linear: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """Linear light to display sRGB in [0, 1]; what is brighter is white, with a gradient that leads back."""
    linear = unit(linear)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.003) ** (1 / 2.4) - 0.055)


def lamps(cameras: Cameras, now: Step | None) -> Float[Tensor, "B 3"]:
    """A point light for each view: at the camera, or during a step in a random direction around the camera's, at 0.8 to 1.5 times its
    distance. Views of one group share the turn. Directions and distances are those of the cameras' frame, where they have one."""
    if now is None:
        return cameras.centre
    if cameras.frame is not None:
        return _apply(torch.linalg.inv(cameras.frame), _near(_apply(cameras.frame, cameras.centre), cameras, now))
    return _near(cameras.centre, cameras, now)


def _apply(matrix: Float[Tensor, "B 4 4"], x: Float[Tensor, "B 3"]) -> Float[Tensor, "B 3"]:
    return (matrix[:, :3, :3] @ x[..., None])[..., 0] + matrix[:, :3, 3]


def _near(centre: Float[Tensor, "B 3"], cameras: Cameras, now: Step) -> Float[Tensor, "B 3"]:
    groups = int(cameras.group.max()) + 1
    turn, stretch = now.normal(groups, 3).to(centre), now.uniform(groups, 1).to(centre)
    away = centre.norm(dim=-1, keepdim=True)
    return F.normalize(centre / away.clamp(min=1e-6) + turn[cameras.group] / 2, dim=-1) * away * (0.8 + 0.7 * stretch)[cameras.group]


def lambert(
    albedo: Float[Tensor, "n 3"],
    normal: Float[Tensor, "n 3"],
    position: Float[Tensor, "n 3"],
    lamp: Float[Tensor, "n 3"],
    ambient: float,
) -> Float[Tensor, "n 3"]:
    """Albedo times (ambient + (1 - ambient) max(0, cos)), in display colours as DreamFusion and its successors do."""
    cosine = (F.normalize(lamp - position, dim=-1) * normal).sum(-1, keepdim=True).clamp(min=0)
    return albedo * (ambient + (1 - ambient) * cosine)


class Sky(nn.Module):
    """An environment, equirectangular and linear: row 0 is up, the middle column is -y (behind a front camera), azimuth grows to the
    right. Everything a surface asks of it is computed once, here."""

    def __init__(self, image: Float[Tensor, "h w 3"]):
        super().__init__()
        image = image.detach().float().movedim(-1, 0)[None]
        sharp = _sized(image, min(SHARP, image.shape[2]))
        soft = _sized(image, SOFT)
        filtered = torch.stack([_filter(soft[0].movedim(0, -1), (i + 1) / LEVELS) for i in range(LEVELS)])
        for name, value in (
            ("sharp", _around(sharp)),
            ("soft", _around(filtered.movedim(-1, 0)[None])),
            ("harmonics", _harmonics(soft[0].movedim(0, -1))),
            ("table", reflected(TABLE, SAMPLES).movedim(-1, 0)[None]),
        ):
            self.register_buffer(name, value, persistent=False)

    def radiance(self, way: Float[Tensor, "n 3"], roughness: Float[Tensor, "n 1"]) -> Float[Tensor, "n 3"]:
        """What comes from `way`, filtered by a lobe of this roughness."""
        u, v = _place(way)
        width = self.sharp.shape[-1] - 2
        level = roughness * LEVELS - 1  # among the filtered ones; -1 is a mirror
        mirror = _look(self.sharp, [u * width / (width + 2), v])
        rows = self.soft.shape[-1]
        depth = 2 * level.clamp(min=0) / (LEVELS - 1) - 1
        size = rows - 2
        soft = _look(self.soft, [u * size / rows, v, depth])
        return torch.lerp(mirror, soft, (level + 1).clamp(0, 1))

    def irradiance(self, normal: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """What a white diffuse surface returns: harmonics of degree 2 (Ramamoorthi and Hanrahan, SIGGRAPH 2001)."""
        return (_basis(normal) @ self.harmonics).clamp(min=0)

    def peak(self, normal: Float[Tensor, "n 3"], towards: Float[Tensor, "n 3"], roughness: Float[Tensor, "n 1"]) -> Float[Tensor, "n 3"]:
        """Where a lobe's light mostly comes from: the mirrored direction, and for rough surfaces towards the normal (alpha^2 of the way
        halves the error of the split sum at roughness 0.9)."""
        mirrored = 2 * (normal * towards).sum(-1, keepdim=True) * normal - towards
        return F.normalize(torch.lerp(mirrored, normal, roughness**4), dim=-1)

    def factor(self, facing: Float[Tensor, "n 1"], roughness: Float[Tensor, "n 1"]) -> Float[Tensor, "n 2"]:
        """`reflected` at cosines of the angle to the camera."""
        at = torch.cat([2 * facing - 1, 2 * roughness - 1], -1)[None, None]
        return F.grid_sample(self.table, at, padding_mode="border", align_corners=True)[0, :, 0].T

    def forward(
        self,
        albedo: Float[Tensor, "n 3"],
        roughness: Float[Tensor, "n 1"],
        metallic: Float[Tensor, "n 1"],
        normal: Float[Tensor, "n 3"],
        towards: Float[Tensor, "n 3"],
        turn: Float[Tensor, "n 1"] | None = None,
    ) -> Float[Tensor, "n 3"]:
        """Linear light towards the camera; albedo is linear too. glTF's metallic-roughness: a mixture of a dielectric and a metal.
        `turn`: radians by which the environment is turned about z."""
        roughness = roughness.clamp(SMOOTHEST, 1)
        facing = (normal * towards).sum(-1, keepdim=True).clamp(1e-4, 1)
        mirrored = self.peak(normal, towards, roughness)
        if turn is not None:
            normal, mirrored = _turned(normal, -turn), _turned(mirrored, -turn)
        factor = self.factor(facing, roughness)
        once, more = _returned(albedo.new_full((1, 3), DIELECTRIC), factor)
        metal_once, metal_more = _returned(albedo, factor)
        diffuse = (1 - metallic) * (albedo * (1 - once - more) + more) + metallic * metal_more
        specular = torch.lerp(once.expand_as(albedo), metal_once, metallic)
        return specular * self.radiance(mirrored, roughness) + diffuse * self.irradiance(normal)


def _returned(f0: Float[Tensor, "m 3"], factor: Float[Tensor, "n 2"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """The share of light that comes back after one bounce between the facets, and after more."""
    once = f0 * factor[:, :1] + factor[:, 1:]
    lost = 1 - factor.sum(-1, keepdim=True)
    mean = f0 + (1 - f0) / 21
    return once, once * mean * lost / (1 - mean * lost)


def reflected(nodes: int, samples: int) -> Float[Tensor, "r c 2"]:
    """The second factor for `nodes` values each of roughness and cosine from 0 to 1: light reflected is f0 times the first number plus
    the second (GGX, height-correlated Smith shadowing: Heitz, JCGT 2014; Schlick's Fresnel). Quadrature over visible half vectors."""
    axis = torch.linspace(0, 1, nodes, dtype=torch.double)
    alpha, cosine = axis[:, None, None] ** 2, axis[None, :, None].clamp(min=1e-3)
    index = torch.arange(samples, dtype=torch.double)
    u, phi = (index + 0.5) / samples, 2 * math.pi * (index * 0.6180339887498949 % 1)
    # half vectors distributed as D(h) (n h), a Fibonacci lattice
    up = ((1 - u) / (1 + (alpha**2 - 1) * u)).sqrt()
    across = (1 - up**2).sqrt() * phi.cos()
    vh = (cosine * up + (1 - cosine**2).sqrt() * across).clamp(min=1e-9)
    nl = 2 * vh * up - cosine
    both = _smith(nl.clamp(min=1e-9), cosine, alpha) * vh / (up * cosine) * (nl > 0) * (vh > 1e-8)
    fresnel = (1 - vh.clamp(max=1)) ** 5
    return torch.stack([(both * (1 - fresnel)).mean(-1), (both * fresnel).mean(-1)], -1).float()


def _smith(nl, nv, alpha):
    """Height-correlated shadowing and masking."""
    light = nv * (alpha**2 + (1 - alpha**2) * nl**2).sqrt()
    view = nl * (alpha**2 + (1 - alpha**2) * nv**2).sqrt()
    return 2 * nl * nv / (light + view)


def _filter(image: Float[Tensor, "h w 3"], roughness: float) -> Float[Tensor, "h w 3"]:
    """The environment seen through a lobe whose viewer stands in its middle: weights D(h) (n l)."""
    way, area = _ways(*image.shape[:2])
    light, area = image.reshape(-1, 3), area.reshape(-1, 1)
    rows = []
    for part in way.view(-1, 3).split(512):
        cosine = part @ way.view(-1, 3).T
        square = roughness**4
        lobe = cosine.clamp(min=0) / ((1 + cosine) / 2 * (square - 1) + 1).square()
        rows.append(lobe @ (area * light) / (lobe @ area))
    return torch.cat(rows).view(image.shape)


def _harmonics(image: Float[Tensor, "h w 3"]) -> Float[Tensor, "9 3"]:
    """Of the light that a diffuse surface gathers: coefficients for `_basis`."""
    way, area = _ways(*image.shape[:2])
    gathered = torch.tensor([1.0] + [2 / 3] * 3 + [1 / 4] * 5)[:, None]
    return gathered * (_basis(way.view(-1, 3)).T @ (area.reshape(-1, 1) * image.reshape(-1, 3)))


def _basis(n: Float[Tensor, "n 3"]) -> Float[Tensor, "n 9"]:
    """Real spherical harmonics up to degree 2, orthonormal."""
    x, y, z = n.unbind(-1)
    one = torch.full_like(x, math.sqrt(1 / (4 * math.pi)))
    a, b, c = (math.sqrt(k / (4 * math.pi)) for k in (3.0, 15.0, 5.0))
    return torch.stack([one, a * y, a * z, a * x, b * x * y, b * y * z, c / 2 * (3 * z * z - 1), b * x * z, b / 2 * (x * x - y * y)], -1)


def _ways(rows: int, columns: int) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w"]]:
    """The direction of every texel's centre, and its solid angle; together 4 pi."""
    edges = torch.linspace(0, math.pi, rows + 1)
    polar = (edges[1:] + edges[:-1])[:, None] / 2
    azimuth = (torch.arange(columns) + 0.5) / columns * 2 * math.pi - math.pi
    across = polar.sin()
    way = torch.stack([across * azimuth.sin(), -across * azimuth.cos(), polar.cos().expand(rows, columns)], -1)
    area = (edges[:-1].cos() - edges[1:].cos())[:, None] * (2 * math.pi / columns)
    return way, area.expand(rows, columns)


def _place(way: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 1"]]:
    """Column and row in [-1, 1] of a direction."""
    x, y, z = way.split(1, -1)
    flat = (x.square() + y.square()) < 1e-12  # straight up the azimuth has no gradient
    azimuth = torch.atan2(torch.where(flat, 0.0, x), torch.where(flat, 1.0, -y))
    return azimuth / math.pi, 2 * torch.acos(z.clamp(-1 + 1e-6, 1 - 1e-6)) / math.pi - 1


def _look(maps: Tensor, place: list[Float[Tensor, "n 1"]]) -> Float[Tensor, "n K"]:
    """Linear interpolation at places in [-1, 1]; levels of a stack lie on the corners, texels are cells."""
    at = torch.cat(place, -1)
    if maps.ndim == 4:
        return F.grid_sample(maps, at[None, None], padding_mode="border", align_corners=False)[0, :, 0].T
    *_, levels, _, _ = maps.shape
    at = torch.cat([at[:, :2], at[:, 2:] * (levels - 1) / levels], -1)
    return F.grid_sample(maps, at[None, None, None], padding_mode="border", align_corners=False)[0, :, 0, 0].T


def _around(maps: Tensor) -> Tensor:
    """One more column on either side, so that what is left of the first is the last."""
    return torch.cat([maps[..., -1:], maps, maps[..., :1]], -1)


def _sized(image: Float[Tensor, "1 3 h w"], rows: int) -> Float[Tensor, "1 3 r c"]:
    if image.shape[2:] == (rows, 2 * rows):
        return image
    return F.interpolate(image, (rows, 2 * rows), mode="bilinear", antialias=True)


def _turned(v: Float[Tensor, "n 3"], angle: Float[Tensor, "n 1"]) -> Float[Tensor, "n 3"]:
    """About z, counter-clockwise seen from above."""
    x, y, z = v.split(1, -1)
    c, s = angle.cos(), angle.sin()
    return torch.cat([c * x - s * y, s * x + c * y, z], -1)


def environment(name: str, where: str = "renderer.environment") -> Float[Tensor, "h w 3"]:
    """A built-in environment (its mean radiance is 1), or a picture: .hdr and .exr are linear, others display sRGB. Raises Mistake."""
    if name == "constant":
        return torch.ones(SOFT, 2 * SOFT, 3)
    if name == "studio":
        return _studio(64)
    path = Path(name)
    if not path.is_file():
        fix = "or the path of an .hdr, .exr or .png"
        raise Mistake(f"there is no environment {name!r}", where=where, near=", ".join(BUILT_IN), fix=fix)
    import imageio.v3 as imageio

    try:
        image = np.asarray(imageio.imread(path))
    except Exception as error:
        raise Mistake(f"{name} cannot be read: {type(error).__name__}: {error}", where=where, near=", ".join(BUILT_IN)) from None
    if image.ndim != 3 or image.shape[2] < 3 or 0 in image.shape:
        raise Mistake(f"{name} is no picture in colour: its shape is {image.shape}", where=where, near=", ".join(BUILT_IN))
    if image.dtype == np.uint8:
        return to_linear(torch.from_numpy(image[..., :3].copy()).float() / 255)
    linear = torch.from_numpy(image[..., :3].astype(np.float32))
    if not bool(linear.isfinite().all()):
        raise Mistake(f"{name} holds numbers that are not finite", where=where, near=", ".join(BUILT_IN))
    return linear.clamp(min=0)


def _studio(rows: int) -> Float[Tensor, "h w 3"]:
    """A dim room that is brighter above, a large key light, a weaker one opposite, one behind and above."""
    way, area = _ways(rows, 2 * rows)
    light = 0.35 + 0.25 * way[..., 2:]
    for direction, size, colour in (
        ((0.7, -0.7, 0.6), 0.45, (9.0, 8.6, 8.0)),
        ((-0.9, -0.3, 0.25), 0.6, (2.0, 2.2, 2.5)),
        ((0.2, 0.9, 0.8), 0.3, (6.0, 6.0, 6.2)),
    ):
        cosine = (way * F.normalize(torch.tensor(direction), dim=0)).sum(-1, keepdim=True)
        light = light + torch.sigmoid((cosine - math.cos(size)) * 40) * torch.tensor(colour)
    return light * 4 * math.pi / (area[..., None] * light).sum((0, 1)).mean()
