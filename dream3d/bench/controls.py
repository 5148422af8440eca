"""Subjects the judge has to refuse, and the ends of its scale: the best ellipsoid (floor), splats fitted to a true object (ceiling)."""

import dataclasses

import numpy as np
import torch
from dream3d.renderers.gaussians import Gaussians
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation
from torch import Tensor

from dream3d.bench.rings import AZIMUTHS, Look, cameras, of_scene, of_soup
from dream3d.bench.truth import STEP, Truth, surface
from dream3d.cameras import look_at
from dream3d.optim import Adam
from dream3d.toybox.language import COLOURS
from dream3d.types import Cameras, Render, Step

FIT_SIDE, STEPS, BATCH = 32, 300, 4  # pixels while an ellipsoid is fitted; steps and views of a splat fit


def empty(where: Cameras) -> Render:
    shape = (len(where), where.height, where.width)
    return Render(torch.zeros(*shape, 3), torch.zeros(*shape, 1), torch.zeros(*shape, 1))


def noise(where: Cameras) -> Render:
    """Splats of random place, size and colour."""
    rng = torch.Generator().manual_seed(0)
    scene = Gaussians(rng, count=600, radius=0.7)
    with torch.no_grad():
        scene.colour.copy_(torch.rand(scene.colour.shape, generator=rng))
        scene.logit.copy_(2 * torch.randn(scene.logit.shape, generator=rng))
    return of_scene(scene)(where)


def billboard(truth: Truth) -> Look:
    """A board with the front's picture on both sides, standing where the object would."""
    front = of_soup(truth.soups[0])

    def look(where: Cameras) -> Render:
        picture = front(look_at(torch.zeros(1), torch.zeros(1), size=4 * where.height))
        origin, direction = where.rays()
        distance = -origin[..., 1] / direction[..., 1]
        hit = origin + distance[..., None] * direction
        scale = picture.rgb.shape[1] / 2 / (3.0 * np.tan(np.deg2rad(20)))  # pixels a metre at the board
        column = (hit[..., 0] * scale + picture.rgb.shape[2] / 2).floor().long()
        row = (picture.rgb.shape[1] / 2 - hit[..., 2] * scale).floor().long()
        inside = (distance > 0) & (column >= 0) & (column < picture.rgb.shape[2]) & (row >= 0) & (row < picture.rgb.shape[1])
        row, column = row.where(inside, 0), column.where(inside, 0)
        inside = inside[..., None]
        return Render(picture.rgb[0][row, column] * inside, picture.alpha[0][row, column] * inside,
                      distance[..., None] * picture.alpha[0][row, column] * inside)  # fmt: skip

    return look


def two_faced(truth: Truth) -> Look:
    """Shows its front half all around: where a back should be, the front again."""
    look = of_soup(truth.soups[0])

    def janus(where: Cameras) -> Render:
        azimuth = torch.atan2(where.azimuth.sin(), where.azimuth.cos())
        folded = torch.where(azimuth.abs() > torch.pi / 2, azimuth - torch.pi, azimuth)
        return look(look_at(folded, where.elevation, size=where.height))

    return janus


# --- the floor ------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Ellipsoid:
    """One colour in the shape of an ellipsoid: centre, half axes (metres), rotation vector."""

    centre: Float[np.ndarray, "3"]
    axes: Float[np.ndarray, "3"]
    turn: Float[np.ndarray, "3"]
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def hit(self, where: Cameras) -> tuple[Bool[Tensor, "B H W"], Float[Tensor, "B H W"]]:
        """Which pixel centres see it, and at what camera z."""
        world = torch.from_numpy(Rotation.from_rotvec(self.turn).as_matrix() / self.axes).float()
        origin, direction = where.rays()
        o, d = (origin - torch.from_numpy(self.centre).float()) @ world, direction @ world
        a, b, c = d.square().sum(-1), (o * d).sum(-1), o.square().sum(-1) - 1
        root = b.square() - a * c
        return root > 0, (-b - root.clamp(min=0).sqrt()) / a

    def __call__(self, where: Cameras) -> Render:
        hit, depth = self.hit(where)
        alpha = hit[..., None].float()
        return Render(alpha * torch.tensor(self.colour), alpha, alpha * depth[..., None])


def ellipsoid(truth: Truth) -> Ellipsoid:
    """The one with the best silhouettes, in the prompt's first colour: from the second moments of every instance, the best three
    refined (Nelder and Mead)."""
    starts = [_moments(truth, i) for i in range(len(truth.soups))]
    where = cameras(FIT_SIDE).at(torch.arange(0, AZIMUTHS, STEP))
    masks = truth.masks[:, ::STEP]
    masks = torch.nn.functional.avg_pool2d(masks, masks.shape[-1] // FIT_SIDE) > 0.5
    first = [_loss(start, where, masks[i]) for i, start in enumerate(starts)]
    steps = np.vstack([np.zeros(9), np.diag([0.06] * 3 + [0.2] * 3 + [0.3] * 3)])
    tried = [minimize(_loss, starts[i], (where, masks[i]), "Nelder-Mead",
                      options={"maxfev": 500, "xatol": 1e-3, "fatol": 1e-4, "initial_simplex": starts[i] + steps})
             for i in np.argsort(first)[:3]]  # fmt: skip
    best = min(tried, key=lambda result: result.fun).x
    thing = truth.wish.things[0]
    return Ellipsoid(best[:3], np.exp(best[3:6]), best[6:], COLOURS[thing.colour] if thing.colour else (0.5, 0.5, 0.5))


def _moments(truth: Truth, instance: int) -> Float[np.ndarray, "9"]:
    points = surface(truth.instance(instance))
    spread, frame = np.linalg.eigh(np.cov(points.T))
    frame[:, 0] *= np.sign(np.linalg.det(frame))
    return np.concatenate([points.mean(0), 0.5 * np.log(2.5 * spread), Rotation.from_matrix(frame).as_rotvec()])


def _loss(vector: Float[np.ndarray, "9"], where: Cameras, masks: Bool[Tensor, "V H W"]) -> float:
    hit, _ = Ellipsoid(vector[:3], np.exp(vector[3:6]), vector[6:]).hit(where)
    return 1 - ((hit & masks).sum((1, 2)) / (hit | masks).sum((1, 2)).clamp(min=1)).mean().item()


# --- the ceiling ----------------------------------------------------------------------------------------------------------------


def fitted(look: Look, *, steps: int = STEPS, size: int = 64) -> Gaussians:
    """Splats fitted to a subject's pictures by least squares on colour and coverage: what the renderer can show of it."""
    scene = Gaussians(Step.make(0, 1, 0, salt="fit").rng)
    optimizer = Adam()
    for index in range(steps):
        now = Step.make(index, steps, 0, salt="fit")
        u, v = now.uniform(2, BATCH)
        where = look_at(2 * torch.pi * u, torch.asin(1.17 * v - 0.2), size=size)
        with torch.no_grad():
            true = look(where)
        render = scene.render(where, now)
        pull = {"rgb": 2 * (render.rgb - true.rgb).detach(), "alpha": 2 * (render.alpha - true.alpha).detach()}
        render.backward(pull)
        optimizer.step(scene.groups(now))
        scene.refine(render, optimizer, now)
    return scene


def restored(state: dict[str, Tensor]) -> Gaussians:
    """Splats that were fitted before, from their state."""
    scene = Gaussians(Step.make(0, 1, 0, salt="fit").rng)
    scene.restore(state)
    return scene
