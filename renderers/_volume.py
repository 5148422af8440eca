"""Volumes by quadrature along rays: what nerf, hashgrid, voxels and triplane share (NeRF, Mildenhall et al., arXiv:2003.08934).

A ray crosses the cube [-bound, bound]^3 in `samples` sections; alpha = 1 - exp(-sigma delta) of each is composited front to back. Samples
in space known as empty are never evaluated: a family gets one packed list of points. Geometry is a density, or a signed distance that
becomes one (VolSDF, Yariv et al., arXiv:2106.12052, equation 2) or opacities directly (NeuS, Wang et al., arXiv:2106.10689, equation 13).
"""

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from dream3d.renderers import _beside, _handing, _light, _march
from dream3d.renderers._backends import light_nerfacc, light_torch
from dream3d.renderers._environment import Environment
from dream3d.renderers._latent import LATENT_RGB, shown
from dream3d.renderers._shading import Shading
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dream3d.errors import Mistake
from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, Positive, Ramp, Share, Whole, at
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step

LIGHT = {"torch": light_torch, "nerfacc": light_nerfacc}
STEEP = 5.0  # a density is this times what a perceptron says: where it had to say 50, the colours beside it ran into their ends
LATE = 4  # sections that a proposal goes on behind what looks opaque: its cells are coarse
FAINT = 1e-4  # of the light: a section that takes less has no normal and stays unlit
FLAT = 0.01  # slope per metre below which a normal is shorter than one
CORNERS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))


class Volume(Representation):
    """bound: metres; samples: per ray; sampling: in even sections, in those of them that are not empty, or where a coarse grid of
    the density says that light is lost; occupancy: cells a side of that grid; geometry: "density" (1/metre), or a signed distance
    with an edge of `edge` metres ("volsdf": its beta, "neus": 1 / s); blob: an object in the middle, a shell around the scene, or
    nothing to start with, of `blob_radius` metres; normals: by differences over bound / 64, of the place where a ray has lost half of its
    light ("surface"), or of all sections that take light, composited ("samples": four more samples each; the penalty `orientation` reads
    them); shading: albedo, lambert (a lamp near the camera, `ambient` of the light from everywhere), textureless (the same on white), or
    several with probabilities; features: channels of a latent render (0: none), shown by a linear `decoder` that learns from progress
    `decode_from` on; environment: a network paints what is behind (background: {type: environment}); grid: cells a side of what is handed
    over; chunk: samples at a time (more are evaluated again on the way back); light "auto": composited by nerfacc for float32 on CUDA
    where it is installed, else by torch."""

    offers: ClassVar[dict[str, str]] = {"normal": "normals != 'none'", "features": "features > 0", "environment": "environment",
                                         "weights": "True"}  # fmt: skip
    gives: ClassVar[dict[str, str]] = {}
    memory: ClassVar[str] = ("600 * (1 + 4 * (normals == 'samples' or shading != 'albedo')) * min(chunk, views * side**2 * samples)"
                             " + 60 * views * side**2 * samples + 40 * grid**3")  # fmt: skip

    def __init__(
        self,
        rng: torch.Generator,
        *,
        bound: Positive = 0.8,
        samples: Count = 64,
        sampling: Literal["stratified", "occupancy", "proposal"] = "occupancy",
        occupancy: Count = 32,
        geometry: Literal["density", "volsdf", "neus"] = "density",
        edge: Ramp = Ramp(0.05, 0.01, shape="exp"),
        blob: Literal["object", "scene", "none"] = "object",
        blob_strength: Positive = 10.0,
        blob_radius: Positive = 0.5,
        normals: Literal["surface", "samples", "none"] = "surface",
        shading: Literal["albedo", "lambert", "textureless"] | dict[Literal["albedo", "lambert", "textureless"], Share] = "albedo",
        ambient: Share = 0.3,
        features: Whole = 0,
        decode_from: Share = 1.0,
        environment: bool = False,
        lr_environment: Ramp = Ramp(1e-3),
        grid: Count = 128,
        chunk: Count = 1 << 17,
        light: Literal["auto", "torch", "nerfacc"] = "auto",
    ):
        super().__init__()
        self.shading = Shading(shading, ambient=ambient)
        _check(edge, grid, bool(features) and self.shading.lamp)
        self.bound, self.samples, self.sampling, self.geometry, self.edge = bound, samples, sampling, geometry, edge
        self.blob, self.blob_strength, self.blob_radius, self.normals = blob, blob_strength, blob_radius, normals
        self.channels, self.decode_from, self.lr_environment = features, decode_from, lr_environment
        self.grid, self.chunk, self.light = grid, chunk, light
        self.register_buffer("width", torch.tensor(edge(0.0)))  # of an edge, as of the last step
        self.register_buffer("density", torch.full((occupancy,) * 3, torch.inf))  # an upper estimate: nothing is known as empty
        self.decoder = nn.Parameter(torch.tensor(LATENT_RGB)) if features == 4 else None
        self.environment = Environment(rng) if environment else None

    @property
    def about(self) -> str:
        return "light by {}: {}".format(*self._kernel())

    def _kernel(self) -> tuple[str, str]:
        return light_nerfacc.kernel(self.width.device.type, self.width.dtype == torch.float32, self.light)

    @abstractmethod
    def at(self, x: Float[Tensor, "N 3"], now: Step | None) -> tuple[Float[Tensor, " N"], Float[Tensor, "N K"]]:
        """Geometry and colour before their activations at x in [-1, 1]^3 (world / bound)."""

    def parted(self, out: Float[Tensor, "N K1"]) -> tuple[Float[Tensor, " N"], Float[Tensor, "N K"]]:
        """Geometry and colour of one perceptron's answer."""
        return out[:, 0] * (STEEP if self.geometry == "density" else 1.0), out[:, 1:]

    @abstractmethod
    def rates(self, now: Step) -> list[Group]:
        """What a family learns, and how fast."""

    def grids(self) -> dict[str, Tensor]:
        """What penalties may smooth: "geometry" (1 1 X Y Z) and "colour" (1 K X Y Z) where a family has such grids."""
        return {}

    # --- drawing ----------------------------------------------------------------------------------------------------

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """All buffers. extras: weights (rays, samples: the light each section takes), facing (rays, samples: how far a section's normal
        goes with the ray, in [-1, 1]), gradient of a signed distance (n 3, of length 1), environment (B H W 3), and a family's grids."""
        origin, way = (v.reshape(-1, 3) for v in cameras.rays())
        jitter = None if now is None else now.uniform(len(way), self.samples, device=way.device)
        mode = self.shading.mode(now) if self.shading.lamp else "albedo"
        lamp = None if mode == "albedo" else _light.lamps(cameras, now).repeat_interleave(cameras.height * cameras.width, 0)
        if now is not None and self.training:
            self.width = torch.full_like(self.width, at(self.edge, now))  # what an earlier render saved stays as it was
        rows = max(self.chunk // self.samples, 1)
        shares = zip(*([None] * -(-len(way) // rows) if v is None else v.split(rows) for v in (origin, way, jitter, lamp)), strict=True)
        parts = [self._chunk(*share, mode == "textureless", now, len(way) > rows) for share in shares]
        colour, alpha, depth, weights, *seen = (torch.cat(column) for column in zip(*parts, strict=True))
        extras, shape = {"weights": weights, **self.grids()}, (len(cameras), cameras.height, cameras.width, -1)
        normal = None
        if self.normals == "surface" or self.normals == "samples" and self.geometry != "density":
            normal, gradient = self._normal(origin, way, alpha, depth, now)
            extras |= {} if self.geometry == "density" else {"gradient": gradient}
        if self.normals == "samples":
            normal, extras["facing"] = F.normalize(seen[0], dim=-1, eps=FAINT) * alpha, seen[1]
        if self.environment is not None:
            extras["environment"] = self.environment(way).view(shape)
        features, rgb = (colour.view(shape), self._decode(colour, alpha, now)) if self.channels else (None, colour)
        normal = None if normal is None else normal.view(shape)
        return Render(rgb.view(shape), alpha.view(shape), depth.view(shape), normal, features=features, extras=extras)

    def _chunk(self, origin, way, jitter, lamp, white: bool, now, again: bool):
        """Some rays; where there are more, their graph is made again on the way back instead of kept."""
        if again and torch.is_grad_enabled():
            return checkpoint(self._march, origin, way, jitter, lamp, white, now, use_reentrant=False, preserve_rng_state=False)
        return self._march(origin, way, jitter, lamp, white, now)

    def _march(self, origin: Float[Tensor, "R 3"], way: Float[Tensor, "R 3"], jitter, lamp, white: bool, now):
        """Colour, alpha, depth and weights of rays; the sum of their normals and how these face where `normals` are those of samples."""
        near, far = _march.cross(origin, way, self.bound)
        edges = _march.sections(near, far, self.samples, self._proposal(origin, way, near, far))
        t, delta = _march.places(edges, jitter)
        points = origin[:, None] + t[..., None] * way[:, None]
        index = self.worth(points, far > near).flatten().nonzero()[:, 0]
        raw, colour = self.at(points.view(-1, 3)[index] / self.bound, now)
        geometry = self.shaped(raw, points.view(-1, 3)[index])
        length = (delta * way.norm(dim=-1, keepdim=True)).flatten()
        weights = self.lit(geometry, index, length, t.shape)
        t = _march.between(t) if self.geometry == "neus" else t
        colour = colour if self.channels else torch.ones_like(colour) if white else colour.sigmoid()
        seen = ()
        if lamp is not None or self.normals == "samples":
            taking = (weights.detach().flatten()[index] > FAINT).nonzero()[:, 0]
            place = index[taking]
            x, ray = points.view(-1, 3)[place], place // self.samples
            outward, _ = self._outward(x, now)
            if lamp is not None:
                colour = colour.index_put((taking,), _light.lambert(colour[taking], outward, x, lamp[ray], self.shading.ambient))
            if self.normals == "samples":
                facing = (outward * F.normalize(way, dim=-1)[ray]).sum(-1)
                seen = _march.gather(weights, place, outward), torch.zeros_like(length).index_put((place,), facing).view(t.shape)
        colour = _march.gather(weights, index, colour)
        return colour, weights.sum(1, keepdim=True).clamp(max=1), (weights * t).sum(1, keepdim=True), weights, *seen

    def shaped(self, raw: Float[Tensor, " N"], x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Density (1/metre) or signed distance (metres) at world points, from what `at` gives."""
        return F.softplus(self._unshaped(raw, x)) if self.geometry == "density" else self._unshaped(raw, x)

    def _unshaped(self, raw: Float[Tensor, " N"], x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """The same before the activation of a density: it has the same normals, and does not end in empty space."""
        return (1.0 if self.geometry == "density" else _handing.UNIT) * raw + self.start(x)

    def start(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """The blob at world points: a density before its activation, or metres."""
        radius, sign = x.norm(dim=-1), {"object": 1.0, "scene": -1.0, "none": 0.0}[self.blob]
        if self.geometry == "density":
            return sign * self.blob_strength * (1 - radius / self.blob_radius)
        return sign * (radius - self.blob_radius)

    def dense(self, geometry: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """1/metre, of a signed distance too: what empty space is known by, and what a volume hands over."""
        return geometry if self.geometry == "density" else _march.EDGES[self.geometry](geometry, self.width)

    def lit(self, geometry: Float[Tensor, " n"], index: Int[Tensor, " n"], length: Float[Tensor, " RS"], shape) -> Float[Tensor, "R S"]:
        """The light that sections of these lengths (metres) take, by the density or distance at the ascending flat places `index`."""
        return LIGHT[self._kernel()[0]].weigh(self._opacity(geometry, index, length, shape), index)

    def _opacity(self, geometry: Float[Tensor, " n"], index, length: Float[Tensor, " RS"], shape) -> Float[Tensor, "R S"]:
        if self.geometry != "neus":
            sigma = self.dense(geometry) * length[index]
            return torch.zeros_like(length).index_put((index,), 1 - torch.exp(-sigma)).view(shape)
        outside = torch.ones_like(length).index_put((index,), torch.sigmoid(geometry / self.width)).view(shape)
        before = torch.cat([outside[:, :1], outside[:, :-1]], 1)  # the sample behind is the one that was surely evaluated
        return ((before - outside) / before.clamp(min=1e-5)).clamp(0, 1)

    def _normal(self, origin, way, alpha, depth, now) -> tuple[Float[Tensor, "R 3"], Float[Tensor, "n 3"]]:
        """Outward normals, premultiplied, at the mean depth of rays that lose half of their light, and the gradients there."""
        index = (alpha[:, 0] > 0.5).nonzero()[:, 0]
        outward, gradient = self._outward((origin + depth / alpha.clamp(min=1e-6) * way)[index].detach(), now)
        return torch.zeros_like(way).index_put((index,), outward * alpha[index].detach()), gradient

    def _outward(self, x: Float[Tensor, "n 3"], now: Step | None) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
        """Unit normals by differences over a tetrahedron, and gradients (of a distance: of length 1). Differences of what a family can
        tell have their own derivatives, however a family is read."""
        corners, h = x.new_tensor(CORNERS), self.bound / 64
        points = (x[:, None] + h * corners).view(-1, 3)
        gradient = self._unshaped(self.at(points / self.bound, now)[0], points).view(-1, 4) @ corners / (4 * h)
        return F.normalize(-gradient if self.geometry == "density" else gradient, dim=-1, eps=FLAT), gradient

    def _decode(self, features: Float[Tensor, "R K"], alpha: Float[Tensor, "R 1"], now: Step | None) -> Float[Tensor, "R 3"]:
        """Latents as colours, linearly; the map learns from its time on."""
        learns = self.decoder is not None and now is not None and now.progress >= self.decode_from
        return shown(features, self.decoder if learns or self.decoder is None else self.decoder.detach(), alpha)

    # --- empty space ------------------------------------------------------------------------------------------------

    def worth(self, points: Float[Tensor, "R S 3"], hit) -> Tensor:
        """Which samples are evaluated."""
        if self.sampling == "stratified" or bool(self.density.isinf().all()):
            return hit.expand(points.shape[:2])
        full = self._full()
        return hit & full.view(-1)[_march.cell(points, self.bound, len(full))]

    def _full(self) -> Tensor:
        """Cells that matter, and those around them."""
        least = 0.01 * self.samples / (2 * self.bound)  # a section there takes a hundredth of the light
        return self._widened() >= self.density.clamp(max=1e6).mean().div(2).clamp(max=least)  # a thin fog everywhere is no empty space

    def _widened(self) -> Float[Tensor, "X Y Z"]:
        return F.max_pool3d(self.density.clamp(max=1e6)[None, None], 3, 1, 1)[0, 0]

    def _proposal(self, origin, way, near, far) -> Float[Tensor, "R P"] | None:
        """Where along a ray light is lost, by the coarse grid: shares of sections."""
        if self.sampling != "proposal" or bool(self.density.isinf().any()):
            return None
        t, delta = _march.places(_march.sections(near, far, 2 * len(self.density), None), None)
        points = origin[:, None] + t[..., None] * way[:, None]
        cells = _march.cell(points, self.bound, len(self.density))
        lost, wide = (_march.opacity(grid.view(-1)[cells], delta, way) for grid in (self.density, self._widened()))
        left = F.pad(light_torch.transmittance(lost), (LATE, 0), value=1.0)[:, :-LATE]
        return wide * left

    @torch.no_grad()
    def refine(self, render: Render, optimizer, now: Step) -> None:
        """Every 16 steps, and at first every 4: look again at one random place of every cell. What was there is forgotten slowly."""
        if self.sampling == "stratified" or now.index % (4 if now.index < 64 else 16):
            return
        cells, device = len(self.density), self.density.device
        shift = (now.uniform(cells**3, 3, device=device) - 0.5) * 2 * self.bound / cells
        x = _march.lattice(cells, self.bound, device) + shift
        found = torch.cat([self.dense(self.shaped(self.at(p / self.bound, now)[0], p)) for p in x.split(self.chunk)])
        before = self.density.nan_to_num(posinf=0.0)
        self.density.copy_(torch.maximum(0.9 * before, found.view_as(before)))

    # --- optimising and handing over --------------------------------------------------------------------------------

    def groups(self, now: Step) -> list[Group]:
        own = self.rates(now)
        if self.environment is not None:
            lr = at(self.lr_environment, now)
            own += [Group(f"environment.{name}", p, lr) for name, p in self.environment.named_parameters()]
        if self.decoder is not None and now.progress >= self.decode_from:
            own.append(Group("decoder", self.decoder, at(self.lr_environment, now)))
        return own

    def handover(self) -> Field:
        """The volume on a grid: density or signed distance, colours or features."""
        return _handing.gridded(self)

    def told(self, x: Float[Tensor, "N 3"], now: Step | None = None) -> tuple[Float[Tensor, " N"], Float[Tensor, "N K"]]:
        """Density or distance, and colours or latents, at world points."""
        raw, colour = self.at(x / self.bound, now)
        return self.shaped(raw, x), colour if self.channels else colour.sigmoid()

    def beside(self, teacher: Representation, origin: Float[Tensor, "R 3"], way: Float[Tensor, "R 3"], now: Step) -> _beside.Beside | None:
        """Both at the same places of the same rays; None where one of them is no volume of colours."""
        return _beside.beside(self, teacher, origin, way, now)

    def init_from(self, data: Points | Mesh | Field) -> None:
        """Geometry and colour are fitted to the data; what was known of empty space is forgotten."""
        _handing.fit(self, data)
        self.density.fill_(torch.inf)


def _check(edge: Ramp, grid: int, lit_latents: bool) -> None:
    if lit_latents:
        raise Mistake("a lamp cannot light latent features", where="renderer.shading", fix="renderer.shading=albedo, or features: 0")
    if not (edge.start > 0 and (edge.end is None or edge.end > 0)):
        raise Mistake("an edge of no width has no gradient", where="renderer.edge", fix="renderer.edge=0.01")
    if grid < 2:
        raise Mistake("a grid to hand over has at least 2 cells a side", where="renderer.grid", fix="renderer.grid=128")
