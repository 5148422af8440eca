"""Where the scene is looked at from. Every class here is a `cameras.type`; angles in configurations are degrees."""

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.schedule import Angle, Angles, Count, Distances, Elevation, Elevations, Lens, Lenses, Positive, Ramp
from dream3d.types import Cameras, Step

FOVY, DISTANCE = 40.0, 3.0  # the lens of the house: an object in [-0.75, 0.75]^3 fills about two thirds of the frame


def look_at(
    azimuth: Float[Tensor, " B"],
    elevation: Float[Tensor, " B"],
    distance: Float[Tensor, " B"] | float = DISTANCE,
    fovy: Float[Tensor, " B"] | float = math.radians(FOVY),
    *,
    size: int | tuple[int, int] = 64,
    **more,
) -> Cameras:
    """Cameras on a sphere looking at the origin, z up in the image (straight down, +y is up). Angles in radians; `size` is
    the image's side or (height, width); `more` goes to Cameras."""
    height, width = (size, size) if isinstance(size, int) else size
    distance, fovy = (
        torch.as_tensor(v, dtype=azimuth.dtype, device=azimuth.device).expand_as(azimuth) for v in (distance, fovy)
    )
    sa, ca, se, ce = azimuth.sin(), azimuth.cos(), elevation.sin(), elevation.cos()
    outward = torch.stack([sa * ce, -ca * ce, se], -1)
    right = torch.stack([ca, sa, torch.zeros_like(sa)], -1)  # d outward / d azimuth: defined at the poles too
    down = torch.linalg.cross(-outward, right)
    to_world = torch.eye(4, dtype=azimuth.dtype, device=azimuth.device).repeat(len(azimuth), 1, 1)
    to_world[:, :3] = torch.stack([right, down, -outward, outward * distance[:, None]], -1)
    return Cameras(to_world, _intrinsics(fovy, height, width), height, width, azimuth, elevation, **more)


def _intrinsics(fovy: Float[Tensor, " B"], height: int, width: int) -> Float[Tensor, "B 3 3"]:
    focal = 0.5 * height / torch.tan(fovy / 2)
    k = torch.zeros(len(fovy), 3, 3, dtype=fovy.dtype, device=fovy.device)
    k[:, 0, 0] = k[:, 1, 1] = focal
    k[:, 0, 2], k[:, 1, 2], k[:, 2, 2] = width / 2, height / 2, 1.0
    return k


def ring(count: int, *, elevation: float = 15.0, start: float = 0.0, size: int = 64, **more) -> Cameras:
    """`count` cameras around the object at one elevation, from azimuth `start` on (degrees): turntables, contact sheets."""
    azimuth = math.radians(start) + torch.arange(count) * (2 * math.pi / count)
    return look_at(azimuth, torch.full((count,), math.radians(elevation)), size=size, **more)


def clips(cameras: Cameras, frames: int, until: float = 1.0) -> Cameras:
    """Every camera looks on for a whole clip: `frames` rows each, frames fastest, at times evenly from 0 to `until`, both seen. One
    frame is no clip: the cameras as they are."""
    if frames == 1:
        return cameras
    long = cameras.at(torch.arange(len(cameras), device=cameras.device).repeat_interleave(frames))
    return dataclasses.replace(long, frames=frames, time=torch.linspace(0, until, frames).to(long.azimuth).repeat(len(cameras)))


Sampler = Callable[[Step], Cameras]  # draws the cameras of a step


class Orbit:
    """`batch` cameras on a sphere. Azimuth is stratified over the groups of a batch, elevation uniform by area. Each stands still for
    `frames` moments, so a batch has batch x frames rows."""

    def __init__(
        self,
        size: int,
        *,
        batch: Count = 4,
        frames: Count = 1,
        azimuth: Angles = (-180.0, 180.0),
        elevation: Elevations = (-10.0, 75.0),
        distance: Distances = (3.0, 3.0),
        fovy: Lenses = (40.0, 40.0),
        resolution: Count | None = None,
    ):
        self.batch, self.frames, self.size = batch, frames, resolution or size
        self.azimuth, self.elevation, self.distance, self.fovy = azimuth, elevation, distance, fovy

    def __call__(self, now: Step) -> Cameras:
        u, v, d, f = now.uniform(4, self.batch)
        azimuth = _between(self.azimuth, (torch.arange(self.batch) + u) / self.batch)
        low, high = (math.sin(math.radians(e)) for e in self.elevation)
        elevation = torch.asin(low + (high - low) * v)
        fovy = torch.deg2rad(_between(self.fovy, f))
        return clips(look_at(torch.deg2rad(azimuth), elevation, _between(self.distance, d), fovy, size=self.size), self.frames)


class Unfolding:
    """An orbit of clips that grow: `frames` moments from time 0 to `until`, so that a motion is learnt from its beginning on, and what is
    far from where it was a moment ago never has to be found (D-NeRF adds its pictures in the order of time, Pumarola et al.,
    arXiv:2011.13961). For priors that know what time a frame shows, such as exact_joint."""

    def __init__(
        self,
        size: int,
        *,
        batch: Count = 2,
        frames: Count = 4,
        until: Ramp = Ramp(0.1, 1.0, until=0.7),
        azimuth: Angles = (-180.0, 180.0),
        elevation: Elevations = (-10.0, 75.0),
        distance: Distances = (3.0, 3.0),
        fovy: Lenses = (40.0, 40.0),
        resolution: Count | None = None,
    ):
        if not all(0 < end <= 1 for end in (until.start, until.start if until.end is None else until.end)):
            raise Mistake("a clip ends after time 0 and at most at 1", where="cameras.until", near="cameras.until={start: 0.1, end: 1}")
        self.orbit = Orbit(size, batch=batch, azimuth=azimuth, elevation=elevation, distance=distance, fovy=fovy, resolution=resolution)
        self.frames, self.until = frames, until

    def __call__(self, now: Step) -> Cameras:
        return clips(self.orbit(now), self.frames, self.until(now.progress))


class Orthogonal:
    """Groups of `views` cameras evenly around the object (four: 90 degrees apart) that share elevation, distance and lens, as
    multi-view models know them (MVDream, arXiv:2308.16512). Where the first one stands is stratified over the groups. `batch` counts
    cameras; each stands still for `frames` moments, so a batch has batch x frames rows and a group views x frames."""

    def __init__(
        self,
        size: int,
        *,
        batch: Count = 4,
        views: Count = 4,
        frames: Count = 1,
        azimuth: Angles = (-180.0, 180.0),
        elevation: Elevations = (0.0, 30.0),
        distance: Distances = (3.0, 3.0),
        fovy: Lenses = (40.0, 40.0),
        resolution: Count | None = None,
    ):
        if batch % views:
            whole = -(-batch // views) * views
            raise Mistake(f"{batch} is not a number of groups of {views} views", where="cameras.batch", near=str(whole))
        around = {"azimuth": azimuth, "elevation": elevation, "distance": distance, "fovy": fovy}
        self.views, self.frames = views, frames
        self.firsts = Orbit(size, batch=batch // views, resolution=resolution, **around)

    def __call__(self, now: Step) -> Cameras:
        first = self.firsts(now)
        one = first.at(torch.arange(len(first)).repeat_interleave(self.views))
        turn = torch.arange(self.views).repeat(len(first)) * (2 * math.pi / self.views)
        fovy = 2 * torch.atan(one.height / (2 * one.intrinsics[:, 1, 1]))
        size, distance = (one.height, one.width), one.centre.norm(dim=1)
        return clips(look_at(one.azimuth + turn, one.elevation, distance, fovy, size=size, views=self.views), self.frames)


class Reference:
    """An orbit's `batch` views of role orbit, and one of role photo that always stands where a picture was taken: `azimuth`,
    `elevation`, `distance` and `fovy` are its; the others share distance and lens, and see the object from `around` and `heights`."""

    def __init__(
        self,
        size: int,
        *,
        batch: Count = 3,
        azimuth: Angle = 0.0,
        elevation: Elevation = 15.0,
        distance: Positive = 3.0,
        fovy: Lens = 40.0,
        around: Angles = (-180.0, 180.0),
        heights: Elevations = (-10.0, 75.0),
        resolution: Count | None = None,
    ):
        lens = {"distance": (distance, distance), "fovy": (fovy, fovy), "resolution": resolution}
        self.fixed = Orbit(size, batch=1, azimuth=(azimuth, azimuth), elevation=(elevation, elevation), **lens)
        self.orbit = Orbit(size, batch=batch, azimuth=around, elevation=heights, **lens)

    def __call__(self, now: Step) -> Cameras:
        seen, photo = self.orbit(now), self.fixed(now)
        both = {f: torch.cat([getattr(seen, f), getattr(photo, f)]) for f in ("to_world", "intrinsics", "azimuth", "elevation")}
        return dataclasses.replace(seen, **both, role=("orbit",) * len(seen) + ("photo",))


class Front:
    """The same frontal view for every row, `frames` moments of it each of `batch` times: the playground of images (renderer: plane)."""

    def __init__(
        self,
        size: int,
        *,
        batch: Count = 1,
        frames: Count = 1,
        azimuth: Angle = 0.0,
        elevation: Elevation = 15.0,
        resolution: Count | None = None,
    ):
        self.batch, self.frames, self.size, self.azimuth, self.elevation = batch, frames, resolution or size, azimuth, elevation

    def __call__(self, now: Step) -> Cameras:
        angles = torch.deg2rad(torch.tensor([[self.azimuth], [self.elevation]]).expand(2, self.batch))
        return clips(look_at(*angles, size=self.size), self.frames)


def _between(bounds: tuple[float, float], u: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    return bounds[0] + (bounds[1] - bounds[0]) * u


VIEW_WORDS = ("front", "side", "back", "overhead")


def view_index(cameras: Cameras, *, front: float = 45.0, overhead: float = 60.0) -> Int[Tensor, " B"]:
    """Which of VIEW_WORDS each camera deserves: overhead above `overhead` degrees of elevation, front within `front` degrees
    of azimuth 0, back within `front` of 180, else side."""
    azimuth = torch.rad2deg(torch.atan2(cameras.azimuth.sin(), cameras.azimuth.cos())).abs()
    index = torch.ones_like(azimuth, dtype=torch.long)
    index[azimuth < front] = 0
    index[azimuth > 180 - front] = 2
    index[torch.rad2deg(cameras.elevation) > overhead] = 3
    return index
