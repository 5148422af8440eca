"""The exact score of a mixture whose components are toybox instances, drawn at the very cameras that are asked about.

The views of a group are one vector: rho_k of sum_v log N(z_v; alpha_v x_kv, V_v^2), V^2 = alpha^2 h^2 + sigma^2, and eps_v = sigma_v
sum_k rho_k (z_v - alpha_v x_kv) / V_v^2. So one instance has to explain all views at once: what multi-view diffusion models were made
for (MVDream, arXiv:2308.16512), with nothing trained; and all frames of a clip: what video models were made for. x may hold colour,
colour and depth, or four views tiled to one picture.

Whatever else is known only weighs the components, which is all that p(k | known) takes: x outside a mask (it inpaints), a clean first
frame, the render's depth (control), a picture of the object (image prompt), each by N(known; x_k, h^2).
"""

import dataclasses
import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dream3d import sees
from dream3d.background import composite
from dream3d.cameras import ring
from dream3d.claims import offered
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.pictures import read_picture
from dream3d.priors._noise import look_up, scaled_linear
from dream3d.priors._residual import Residual
from dream3d.schedule import Angle, Count, Positive
from dream3d.toybox import world
from dream3d.toybox.language import Wish, parse
from dream3d.toybox.render import render as draw
from dream3d.toybox.world import Soup
from dream3d.types import Cameras, Embedding, Render

KEPT = 32  # drawings that are remembered: a step asks about the same cameras several times
STARTS = 8  # where a group may stand whose cameras are not known


class ExactJoint(Prior):
    """A prompt such as "a red car" means `instances` red cars, "" those of every prompt asked for so far and `others` from all over the
    world, each equally likely. View words add nothing: a camera says more. A group goes by the prompt of its first view.

    size: pixels; views, frames: how many rows of x are one group, frames fastest, at the cameras' own times (evenly from 0 to 1 where
    they have none); first_frame: the first frame of every clip comes in clean, whatever t is, and its noise is 0; control: components
    whose depth is the render's count; image: a picture (a path, or a name in assets/photos) of what shall be shown, taken from azimuth
    `image_azimuth` and 15 degrees of elevation, which the empty prompt does not heed; buffers: what x shows, as a term's `sees` makes
    it ("grid": each row is a 2 x 2 picture of the given camera and three more, 90 degrees apart); bandwidth: h in units of x; unknown:
    what to do with words outside the vocabulary. The background is render.extras["background"], else white. Cameras that are not given
    are a ring at 15 degrees of elevation that begins anywhere (one of 8 azimuths).
    """

    vocabulary: ClassVar[str] = "dream3d.toybox.language"
    memory: ClassVar[str] = "800 * size**2 * views * frames * max(instances, others)"
    offers: ClassVar[dict[str, str]] = {"student": "True", "camera": "True", "views": "views > 1", "video": "frames > 1",
                                        "first_frame": "first_frame and frames > 1", "control": "control", "image": "image",
                                        "depth": "buffers == 'rgb+depth'", "inpaint": "buffers != 'grid'"}  # fmt: skip

    def __init__(
        self,
        *,
        size: Count = 32,
        views: Count = 1,
        frames: Count = 1,
        first_frame: bool = False,
        control: bool = False,
        image: str | None = None,
        image_azimuth: Angle = 0.0,
        buffers: Literal["rgb", "rgb+depth", "grid"] = "rgb",
        instances: Count = 12,
        others: Count = 16,
        bandwidth: Positive = 0.1,
        unknown: Literal["stop", "ignore"] = "stop",
    ):
        super().__init__()
        if buffers == "grid" and size % 2:
            raise Mistake(f"a grid of two by two is not {size} pixels wide", where="prior.size", near=str(size + 1))
        self.instances, self.others, self.bandwidth, self.unknown = instances, others, bandwidth, unknown
        self.shows, self.tiles, self.control = buffers, 2 if buffers == "grid" else 1, control
        self.first_frame, self.together = first_frame and frames > 1, views * frames
        said = {"views": views, "frames": frames, "first_frame": first_frame, "control": control, "image": image, "buffers": buffers}
        channels, can = 4 if buffers == "rgb+depth" else 3, offered(self.offers, said)
        self.spec = Spec(size, channels, views=views, frames=frames, capabilities=can)
        self.photo = None if image is None else (read_picture(image, "prior.image"), image_azimuth)
        self.register_buffer("table", scaled_linear(), persistent=False)
        self.rows: list[Wish] = []
        self.soups: dict[Wish, list[Soup]] = {}
        self.drawn: dict[tuple, Render] = {}
        freeze(self)

    def text(self, prompts: list[str]) -> Embedding:
        """Rows whose token is an index into what was asked for so far. Raises Mistake for words the toybox does not know."""
        wishes = [_bare(parse(prompt, unknown=self.unknown)) for prompt in prompts]
        self.rows += [wish for wish in dict.fromkeys(wishes) if wish not in self.rows]
        index = torch.tensor([self.rows.index(wish) for wish in wishes], device=self.table.device)
        return Embedding(index.float()[:, None, None])

    def alpha_sigma(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        return look_up(self.table, t)

    def eps(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """The exact E[eps | z] of the mixture, in the precision of x; differentiable in x. Raises Mistake where the views do not
        come in groups of `views`."""
        self._check(len(x), cameras)
        groups = torch.arange(len(x), device=x.device).split(self.together)
        colour = self.table.new_ones(len(x), 3).float()
        if render is not None and "background" in render.extras:
            colour = render.extras["background"].float()
        each = ((i, cameras and cameras.at(i), render and render.at(i)) for i in groups)
        return torch.cat([self._group(x[i], t[i], text.at(i), group, colour[i], part) for i, group, part in each])

    def _group(self, x, t, text: Embedding, cameras: Cameras | None, colour, render: Render | None) -> Float[Tensor, "V C h w"]:
        drawn = self._drawn(text, cameras)
        told = self._unlike(drawn, self.rows[int(text.tokens[0, 0, 0])], render)
        return self._answer(x, t, self._over(drawn, colour), render and self._known(render), told)

    def _unlike(self, drawn: Render, wish: Wish, render: Render | None) -> Float[Tensor, " K"]:
        """-2 log of how well each component agrees with the render's depth and with the picture, up to a constant."""
        count = len(drawn) // self.together // self.tiles**2
        told = torch.zeros(count, dtype=torch.float64, device=drawn.rgb.device)
        if self.control and render is not None and self.tiles == 1:
            size = (self.spec.size, self.spec.size)
            asked = F.interpolate(sees.relative_depth(render).movedim(-1, 1), size, mode="area").movedim(1, -1)
            told = told + self._far(sees.relative_depth(drawn).unflatten(0, (count, -1)) - asked)
        if self.photo is not None and wish.things:
            told = told + self._unlike_photo(wish).repeat(count // self.instances)
        return told

    def _unlike_photo(self, wish: Wish) -> Float[Tensor, " K"]:
        """The same for each instance, seen as the picture was taken, over white."""
        picture, azimuth = self.photo
        device, size = self.table.device, (self.spec.size, self.spec.size)
        seen = self._draw(wish, ring(1, start=azimuth, size=self.spec.size, time=torch.zeros(1)).to(device), tiles=1)
        photo = F.interpolate(picture.to(device), size, mode="area").movedim(1, -1)
        white = torch.ones(len(seen), 3, device=device)
        return self._far(composite(seen, white).rgb - (photo[..., :3] + 1 - photo[..., 3:]))

    def _far(self, off: Float[Tensor, "K ..."]) -> Float[Tensor, " K"]:
        """A distance between values in [0, 1], in units of x and of the bandwidth."""
        return (2 * off).square().flatten(1).sum(1, dtype=torch.float64) / self.bandwidth**2

    def _known(self, render: Render) -> tuple[Float[Tensor, "V 1 h w"], Float[Tensor, "V C h w"]] | None:
        """Where x is not known (1) and what is known elsewhere, if the render has a mask."""
        if "mask" not in render.extras or self.shows == "grid":
            return None
        mask = F.interpolate(render.extras["mask"].movedim(-1, 1), (self.spec.size, self.spec.size), mode="area")
        return (mask >= 0.5).float(), sees.SEES[self.shows](render, self.encode)

    def _answer(
        self, z: Float[Tensor, "V C h w"], t: Float[Tensor, " V"], means: Float[Tensor, "K V C h w"],
        known: tuple[Float[Tensor, "V 1 h w"], Float[Tensor, "V C h w"]] | None = None, told: Float[Tensor, " K"] | float = 0.0,
    ) -> Float[Tensor, "V C h w"]:  # fmt: skip
        alpha, sigma = (v.to(z.dtype)[:, None, None, None] for v in self.alpha_sigma(t))
        if self.first_frame:  # it came in clean
            first = (torch.arange(len(z), device=z.device) % self.spec.frames == 0)[:, None, None, None]
            alpha, sigma = torch.where(first, 1.0, alpha), torch.where(first, 0.0, sigma)
        variance, means = (alpha * self.bandwidth) ** 2 + sigma**2, means.to(z.dtype)
        off = z - alpha * means
        if known is not None:
            inside, given = (v.to(z.dtype) for v in known)
            told = told + ((1 - inside) * (given - means).square()).flatten(1).sum(1, dtype=torch.float64) / self.bandwidth**2
            off = inside * off + (1 - inside) * (z - alpha * given)
            variance = inside * variance + (1 - inside) * sigma**2
        distance = (off.square() / variance).flatten(1).sum(1, dtype=torch.float64) + told  # thousands: differences count
        rho = torch.softmax(-distance / 2, 0).to(z.dtype)
        return sigma * torch.einsum("k,kvchw->vchw", rho, off) / variance

    def _check(self, count: int, cameras: Cameras | None) -> None:
        together = count if cameras is None else cameras.views * cameras.frames
        frames = self.spec.frames if cameras is None else cameras.frames
        if together % self.together or frames % self.spec.frames:
            fix = f"cameras={{type: orthogonal, views: {self.spec.views}, batch: {self.spec.views}}}, or prior.views=1"
            fix = fix if self.spec.frames == 1 else f"cameras.frames={self.spec.frames}, or prior.frames=1"
            problem = f"this prior answers for {self.together} views together, but there are {together}"
            raise Mistake(problem, where="cameras", fix=fix)

    # --- what the components look like ------------------------------------------------------------------------------

    def pictures(
        self, text: Embedding, cameras: Cameras | None, colour: Float[Tensor, "V 3"]
    ) -> Float[Tensor, "K V C h w"]:
        """The components that text means (its first row) for one group of cameras over a colour per view, as x."""
        return self._over(self._drawn(text, cameras), colour)

    def _drawn(self, text: Embedding, cameras: Cameras | None) -> Render:
        wish = self.rows[int(text.tokens[0, 0, 0])]
        starts = [cameras] if cameras is not None else self._anywhere()
        meant = [wish] if wish.things else list(dict.fromkeys([*self.rows, Wish()]))
        parts = [self._draw(one, self._timed(group), self.tiles) for one in meant for group in starts]
        return Render(*(torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "alpha", "depth")))

    def _timed(self, cameras: Cameras) -> Cameras:
        """The same cameras, frames evenly from 0 to 1 where they have no times."""
        if cameras.time is not None or self.spec.frames == 1:
            return cameras
        time = torch.linspace(0, 1, self.spec.frames, device=cameras.device).repeat(len(cameras) // self.spec.frames)
        return dataclasses.replace(cameras, time=time)

    def _over(self, drawn: Render, colour: Float[Tensor, "V 3"]) -> Float[Tensor, "K V C h w"]:
        tiles = self.tiles**2
        colour = colour.repeat_interleave(tiles, 0).repeat(len(drawn) // (tiles * len(colour)), 1)
        image = sees.SEES[self.shows](composite(drawn, colour), lambda image: image)
        return (2 * image.movedim(-1, 1) - 1).unflatten(0, (-1, self.together))

    @torch.no_grad()
    def _draw(self, wish: Wish, cameras: Cameras, tiles: int) -> Render:
        """Every instance of a wish for a group of cameras, instances slowest; from memory where it was asked for lately."""
        lens = cameras.sized(self.spec.size, self.spec.size)
        lens = lens if wish.motion is not None else dataclasses.replace(lens, time=None)
        key = (wish, tiles, *(v.cpu().numpy().tobytes() for v in (lens.to_world, lens.intrinsics, lens.time) if v is not None))
        drawn = self.drawn.pop(key, None)
        if drawn is None:
            soups, cameras = self._instances(wish), _around(lens, tiles**2)
            again = torch.arange(len(cameras), device=cameras.device).repeat(len(soups))
            which = torch.arange(len(soups), device=cameras.device).repeat_interleave(len(cameras))
            side = self.spec.size // tiles
            many = dataclasses.replace(cameras.at(again).sized(side, side), subject=which)
            drawn = draw(soups, many, buffers=("rgb", "alpha", "depth"))
        self.drawn[key] = drawn
        while len(self.drawn) > KEPT:
            del self.drawn[next(iter(self.drawn))]
        return drawn

    def _instances(self, wish: Wish) -> list[Soup]:
        if wish not in self.soups:
            count = self.instances if wish.things else self.others
            self.soups[wish] = [world.build(wish, world.instance_seed("prior", i)) for i in range(count)]
        return self.soups[wish]

    def _anywhere(self) -> list[Cameras]:
        made = {"size": self.spec.size, "elevation": 15.0}
        rings = [ring(self.spec.views, start=360 / STARTS * i, **made).to(self.table.device) for i in range(STARTS)]
        return [one.at(torch.arange(len(one), device=one.device).repeat_interleave(self.spec.frames)) for one in rings]

    def student(self, *, rank: int = 4) -> nn.Module:
        """The exact eps plus a small network that knows time and camera and answers zero at first; 8 rank channels wide."""
        return Residual(self, channels=8 * rank)


def _bare(wish: Wish) -> Wish:
    return Wish(wish.things, wish.relation, motion=wish.motion)


def _around(cameras: Cameras, count: int) -> Cameras:
    """Every camera and those beside it, `count` evenly around the world's z axis: the tiles of a grid."""
    if count == 1:
        return cameras
    turn = torch.eye(4).repeat(count, 1, 1)
    angle = torch.arange(count) * (2 * math.pi / count)
    turn[:, 0, 0], turn[:, 0, 1], turn[:, 1, 0], turn[:, 1, 1] = angle.cos(), -angle.sin(), angle.sin(), angle.cos()
    many = cameras.at(torch.arange(len(cameras), device=cameras.device).repeat_interleave(count))
    turn = turn.to(many.to_world).repeat(len(cameras), 1, 1)
    azimuth = many.azimuth + angle.to(many.azimuth).repeat(len(cameras))
    return dataclasses.replace(many, to_world=turn @ many.to_world, azimuth=azimuth)
