"""Every shape of the framework on one page.
Letters: B views, H W pixels, C h w what the prior sees, N primitives, V F mesh, L D tokens, S labels, K features.
World: right-handed, z up, an object's front looks towards -y, objects live inside [-0.75, 0.75]^3. Angles are radians.
"""

import dataclasses
import hashlib
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

BUFFERS = ("rgb", "alpha", "depth", "normal", "labels", "features")  # what has a gradient per pixel


def _rows(value, index):
    return value[index] if isinstance(value, Tensor) and index is not None else value


@dataclass(frozen=True)
class Cameras:
    """B pinhole cameras. OpenCV axes (x right, y down, z forward), pixel centres at +0.5.

    `to_world` maps camera to world coordinates, `intrinsics` are in pixels. Azimuth 0 is a camera on -y that sees the front, and grows
    towards +x; elevation grows upwards. B = groups x views x frames, frames fastest; a group shares one timestep. `time` in [0, 1];
    `subject`: which prompt, particle or object a view shows; `role`: which terms it serves (None: all); `frame`: to the lamps' world."""

    to_world: Float[Tensor, "B 4 4"]
    intrinsics: Float[Tensor, "B 3 3"]
    height: int
    width: int
    azimuth: Float[Tensor, " B"]
    elevation: Float[Tensor, " B"]
    time: Float[Tensor, " B"] | None = None
    views: int = 1
    frames: int = 1
    subject: Int[Tensor, " B"] | None = None
    role: tuple[str, ...] | None = None
    frame: Float[Tensor, "B 4 4"] | None = None

    def __len__(self) -> int:
        return len(self.to_world)

    @property
    def device(self) -> torch.device:
        return self.to_world.device

    @property
    def group(self) -> Int[Tensor, " B"]:
        """Which group each view belongs to: views of one group share noise level and background."""
        return torch.arange(len(self), device=self.device) // (self.views * self.frames)

    @property
    def to_camera(self) -> Float[Tensor, "B 4 4"]:
        return torch.linalg.inv(self.to_world)

    @property
    def centre(self) -> Float[Tensor, "B 3"]:
        return self.to_world[:, :3, 3]

    def serving(self, role: str | None) -> Int[Tensor, " n"]:
        """Which views serve a role: all of them for None, or where views have no roles."""
        rows = [i for i in range(len(self)) if role is None or self.role is None or self.role[i] == role]
        return torch.tensor(rows, dtype=torch.long, device=self.device)

    def at(self, index: Int[Tensor, " n"]) -> "Cameras":
        """The rows `index`. Grouping survives only whole groups, so a selection by role keeps groups together."""
        rows = {f.name: _rows(getattr(self, f.name), index) for f in dataclasses.fields(self)}
        if self.role is not None:
            rows["role"] = tuple(self.role[i] for i in index.tolist())
        return Cameras(**rows)

    def to(self, device) -> "Cameras":
        return dataclasses.replace(self, **{k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)})

    def sized(self, height: int, width: int) -> "Cameras":
        """The same views at another resolution."""
        scale = self.intrinsics.new_tensor([width / self.width, height / self.height, 1.0])
        return dataclasses.replace(self, height=height, width=width, intrinsics=scale[:, None] * self.intrinsics)

    def rays(self) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 3"]]:
        """Origins and directions through the pixel centres, in the world; a direction's camera z is 1, so distance is depth."""
        make = {"device": self.device, "dtype": self.to_world.dtype}
        y, x = torch.meshgrid(torch.arange(self.height, **make), torch.arange(self.width, **make), indexing="ij")
        pixels = torch.stack([x + 0.5, y + 0.5, torch.ones_like(x)], -1)
        directions = pixels @ (self.to_world[:, None, :3, :3] @ torch.linalg.inv(self.intrinsics)[:, None]).mT
        return self.centre[:, None, None].expand_as(directions), directions


@dataclass(frozen=True)
class Render:
    """What a scene shows to B cameras: display sRGB in [0, 1]; depth (camera z) and world normals premultiplied by alpha.

    A representation returns rgb premultiplied over black; the background composites it. `labels` are weights per object
    including the background (sum 1); `features` are latent renders and not clamped; `source` is the unedited scene;
    `extras` are named by each renderer and read by penalties and `refine`, never by a guidance; "background" and "mask" by priors.
    """

    rgb: Float[Tensor, "B H W 3"]
    alpha: Float[Tensor, "B H W 1"]
    depth: Float[Tensor, "B H W 1"]
    normal: Float[Tensor, "B H W 3"] | None = None
    labels: Float[Tensor, "B H W S"] | None = None
    features: Float[Tensor, "B H W K"] | None = None
    source: "Render | None" = None
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rgb)

    def buffers(self) -> dict[str, Tensor]:
        """The buffers that are there, by name."""
        return {name: getattr(self, name) for name in BUFFERS if getattr(self, name) is not None}

    def map(self, change) -> "Render":
        """The same render with `change` applied to every buffer (not to extras)."""
        source = None if self.source is None else self.source.map(change)
        return dataclasses.replace(self, source=source, **{k: change(v) for k, v in self.buffers().items()})

    def detach(self) -> "Render":
        return dataclasses.replace(self.map(Tensor.detach), extras={k: v.detach() for k, v in self.extras.items()})

    def cut(self) -> "Render":
        """The waist: the same buffers as leaves that collect gradients. The source scene is never optimised."""
        leaves = self.detach()
        return dataclasses.replace(leaves, **{k: v.requires_grad_() for k, v in leaves.buffers().items()})

    def of(self, role: str | None, cameras: Cameras) -> tuple["Render", Cameras]:
        """The views that serve `role` (None: every view)."""
        index = cameras.serving(role)
        return self.at(index), cameras.at(index)

    def at(self, index: Int[Tensor, " n"]) -> "Render":
        """The rows `index` of every buffer. Of the extras only what priors read comes along: the background's colour, a mask."""
        if len(index) == len(self) and torch.equal(index, torch.arange(len(self), device=index.device)):
            index = None  # mostly all of them: nothing is copied
        extras = {name: _rows(self.extras[name], index) for name in ("background", "mask", "pose") if name in self.extras}
        return dataclasses.replace(self.map(lambda buffer: _rows(buffer, index)), extras=extras)

    def gradients(self) -> dict[str, Tensor]:
        """d loss / d buffer of a cut render, per view, for the buffers that received one."""
        return {name: leaf.grad for name, leaf in self.buffers().items() if leaf.grad is not None}

    def backward(self, pixels: dict[str, Tensor], penalty: Float[Tensor, ""] | None = None) -> None:
        """Send gradients on buffers, averaged over the views, and a scalar penalty through the renderer in one walk."""
        heads = [getattr(self, name) for name in pixels]
        grads = [gradient / len(self) for gradient in pixels.values()]
        if penalty is not None and penalty.requires_grad:
            heads, grads = [*heads, penalty], [*grads, torch.ones_like(penalty)]
        flow = [(head, grad) for head, grad in zip(heads, grads, strict=True) if head.requires_grad]
        if flow:
            torch.autograd.backward([head for head, _ in flow], [grad for _, grad in flow])


@dataclass(frozen=True)
class Embedding:
    """One text (or image) condition per row: tokens, their mask, and what some priors add."""

    tokens: Float[Tensor, "B L D"]
    mask: Bool[Tensor, "B L"] | None = None
    pooled: Float[Tensor, "B P"] | None = None
    image: Float[Tensor, "B M E"] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def at(self, index: Int[Tensor, " n"]) -> "Embedding":
        return Embedding(*(None if v is None else v[index] for v in vars(self).values()))

    def to(self, device) -> "Embedding":
        return Embedding(*(None if v is None else v.to(device) for v in vars(self).values()))

    @staticmethod
    def cat(parts: "list[Embedding]") -> "Embedding":
        columns = zip(*(vars(part).values() for part in parts), strict=True)
        return Embedding(*(None if column[0] is None else torch.cat(column) for column in columns))


@dataclass(frozen=True)
class Condition:
    """Named rows of text, one row per view: "text" (view-dependent), "bare", "empty", "negative", "source", view words,
    "region/k". `perp` holds Perp-Neg's weights per negative row where prompt processing made them, `words` what each row says."""

    rows: dict[str, Embedding]
    perp: dict[str, Float[Tensor, " B"]] = field(default_factory=dict)
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Embedding:
        if name not in self.rows:
            raise KeyError(f"no text row {name!r} here; there are {', '.join(self.rows)}")
        return self.rows[name]

    def __contains__(self, name: str) -> bool:
        return name in self.rows

    def at(self, index: Int[Tensor, " n"]) -> "Condition":
        words = {name: tuple(said[i] for i in index.tolist()) for name, said in self.words.items()}
        return Condition({k: v.at(index) for k, v in self.rows.items()}, {k: v[index] for k, v in self.perp.items()}, words)


@dataclass(frozen=True)
class View:
    """Everything a guidance may see: x as the prior sees it (detached), the buffers behind it, cameras and text."""

    x: Float[Tensor, "B C h w"]
    render: Render
    cameras: Cameras
    text: Condition
    source: Float[Tensor, "B C h w"] | None = None

    def at(self, index: Int[Tensor, " n"]) -> "View":
        return View(self.x[index], self.render.at(index), self.cameras.at(index), self.text.at(index), _rows(self.source, index))


@dataclass(frozen=True)
class Step:
    """Where a run is, and all its randomness: `rng` is a CPU generator of this step alone, so that resuming needs no state."""

    index: int
    total: int
    seed: int
    rng: torch.Generator

    @staticmethod
    def make(index: int, total: int, seed: int, *, salt: int | str = 0) -> "Step":
        """Step `index` of `total`; `salt` tells stages, retries and previews apart."""
        return Step(index, total, seed, _generator("step", seed, salt, index))

    @property
    def progress(self) -> float:
        """0 at the first step, 1 at the last."""
        return self.index / max(self.total - 1, 1)

    @property
    def last(self) -> bool:
        return self.index == self.total - 1

    def twin(self) -> "Step":
        """This step once more: what is drawn with either has the same chances from here on."""
        rng = torch.Generator()
        rng.set_state(self.rng.get_state())
        return dataclasses.replace(self, rng=rng)

    def every(self, interval: int) -> bool:
        """True on steps interval, 2 interval, ... (not on step 0); never for 0."""
        return interval > 0 and self.index > 0 and self.index % interval == 0

    def normal(self, *shape: int, device="cpu") -> Tensor:
        """Standard normal noise, drawn on the CPU and moved, so that every device sees the same."""
        return torch.randn(*shape, generator=self.rng).to(device)

    def uniform(self, *shape: int, device="cpu") -> Tensor:
        return torch.rand(*shape, generator=self.rng).to(device)

    def fixed(self, name: str, *shape: int, device="cpu") -> Tensor:
        """Normal noise that depends on the seed and the name only: the same at every step."""
        return torch.randn(*shape, generator=_generator("fixed", self.seed, name)).to(device)


def _generator(*keys: int | str) -> torch.Generator:
    """A generator seeded by all keys. torch's Mersenne twister takes 32 bits: two streams meet with probability 2^-32."""
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(repr(keys).encode()).digest()[:4], "big"))


@dataclass(frozen=True)
class Points:
    """Coloured points, or Gaussians where scale, rotation and opacity are there. Scales are standard deviations in metres,
    rotations unit quaternions wxyz, opacity in [0, 1], `sh` holds coefficients with rgb = 0.5 + C0 sh[:, 0] + ..."""

    position: Float[Tensor, "N 3"]
    rgb: Float[Tensor, "N 3"]
    scale: Float[Tensor, "N 3"] | None = None
    rotation: Float[Tensor, "N 4"] | None = None
    opacity: Float[Tensor, " N"] | None = None
    sh: Float[Tensor, "N K 3"] | None = None
    label: Int[Tensor, " N"] | None = None


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh, outward faces counter-clockwise. Colour per vertex, or per texel with one uv per face corner (uv (0, 0) is the
    lower left, texture row 0 the top); `orm`: linear occlusion, roughness, metallic (glTF); `bump`: tangent-space normals in [-1, 1]."""

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    rgb: Float[Tensor, "V 3"] | None = None
    uv: Float[Tensor, "F 3 2"] | None = None
    texture: Float[Tensor, "h w 3"] | None = None
    label: Int[Tensor, " F"] | None = None
    orm: Float[Tensor, "h w 3"] | None = None
    bump: Float[Tensor, "h w 3"] | None = None


@dataclass(frozen=True)
class Field:
    """A volume on a regular grid over [-bound, bound]^3, index order x y z: density (1/metre) or signed distance (metres, negative
    inside), colour in [0, 1], latent features and the linear map that shows them (2 rgb - 1 = features @ decoder)."""

    bound: float
    density: Float[Tensor, "X Y Z"] | None = None
    distance: Float[Tensor, "X Y Z"] | None = None
    rgb: Float[Tensor, "X Y Z 3"] | None = None
    features: Float[Tensor, "X Y Z K"] | None = None
    decoder: Float[Tensor, "K 3"] | None = None
