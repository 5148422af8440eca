"""A scene whose truth is known, an ellipsoid with a block on it, ray-cast; and exported meshes drawn by other code."""

import numpy as np
import torch
import trimesh

from dream3d.interfaces import Representation
from dream3d.types import Points, Render

AXES = torch.tensor([0.5, 0.35, 0.25])
LOW, HIGH = torch.tensor([-0.15, -0.15, 0.1]), torch.tensor([0.15, 0.15, 0.6])
FRONT, BACK = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.3, 0.8])


class Blocks(Representation):
    """Red where y < 0, blue behind. `opacity` makes it glassy, `specks` puts tiny balls around it."""

    def __init__(self, *, opacity: float = 1.0, specks: bool = False, handed=None):
        super().__init__()
        self.opacity, self.handed = opacity, handed or Points(torch.zeros(1, 3), torch.zeros(1, 3))
        balls = [(torch.zeros(3), AXES)]
        specks = [[0.6, 0.5, -0.5], [-0.6, 0.4, 0.5]] if specks else []
        self.balls = balls + [(torch.tensor(centre), torch.full((3,), 0.04)) for centre in specks]

    def groups(self, now):
        return []

    def handover(self):
        return self.handed

    def render(self, cameras, now=None):
        origin, direction = cameras.rays()
        hits = [_ball(origin - centre, direction, axes) for centre, axes in self.balls] + [_block(origin, direction)]
        depth = torch.stack(hits).amin(0)[..., None]
        alpha = self.opacity * depth.isfinite().float()
        depth = depth.nan_to_num(posinf=0.0)
        rgb = torch.where((origin + direction * depth)[..., 1:2] < 0, FRONT, BACK)
        return Render(rgb=alpha * rgb, alpha=alpha, depth=alpha * depth)


def _ball(origin, direction, axes):
    p, q = origin / axes, direction / axes
    a, b, c = (q * q).sum(-1), (p * q).sum(-1), (p * p).sum(-1) - 1
    root = b * b - a * c
    return torch.where(root > 0, (-b - root.clamp(min=0).sqrt()) / a, torch.inf)


def _block(origin, direction):
    inverse = 1 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
    one, two = (LOW - origin) * inverse, (HIGH - origin) * inverse
    near, far = torch.minimum(one, two).amax(-1), torch.maximum(one, two).amin(-1)
    return torch.where(near < far, near, torch.inf)


def distance(points: np.ndarray) -> np.ndarray:
    """Signed distance to the surface of Blocks, to first order for the ellipsoid."""
    outside = np.abs(points - ((LOW + HIGH) / 2).numpy()) - ((HIGH - LOW) / 2).numpy()
    block = np.linalg.norm(np.maximum(outside, 0), axis=1) + np.minimum(outside.max(1), 0)
    level, slope = np.linalg.norm(points / AXES.numpy(), axis=1), np.linalg.norm(points / AXES.numpy() ** 2, axis=1)
    return np.minimum(block, (level - 1) * level / slope)


def volume() -> float:
    points = np.random.default_rng(0).uniform(-0.7, 0.7, (200_000, 3))
    return float((distance(points) < 0).mean() * 1.4**3)


def draw(path, cameras) -> np.ndarray:
    """Pictures (B H W 3) of a textured .glb over white: trimesh reads it, a plain z-buffer draws it."""
    (mesh,) = trimesh.load(path).geometry.values()
    vertices = np.stack([mesh.vertices[:, 0], -mesh.vertices[:, 2], mesh.vertices[:, 1]], -1)
    texture = np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")) / 255
    views = zip(cameras.to_camera.numpy(), cameras.intrinsics.numpy(), strict=True)
    return np.stack([_view(vertices, mesh.faces, mesh.visual.uv, texture, m, k, cameras.height) for m, k in views])


def _view(vertices, faces, uv, texture, to_camera, intrinsics, size):
    local = vertices @ to_camera[:3, :3].T + to_camera[:3, 3]
    pixel = (local @ intrinsics.T)[:, :2] / local[:, 2:]
    buffer, picture = np.full((size, size), np.inf), np.ones((size, size, 3))
    for face in faces:
        (px, py), a, b = pixel[face[0]], *(pixel[face[1:]] - pixel[face[0]])
        area = a[0] * b[1] - a[1] * b[0]
        (x0, y0), (x1, y1) = np.floor(pixel[face].min(0)).astype(int), np.ceil(pixel[face].max(0)).astype(int)
        if area >= 0:  # y points down: outward faces turn clockwise
            continue
        y, x = np.mgrid[y0:y1, x0:x1] + 0.5
        v, w = ((x - px) * b[1] - (y - py) * b[0]) / area, (a[0] * (y - py) - a[1] * (x - px)) / area
        share = np.stack([1 - v - w, v, w], -1) / local[face, 2]
        depth = 1 / share.sum(-1)
        seen = (share >= 0).all(-1) & (depth < buffer[y0:y1, x0:x1])
        s, t = (((share * depth[..., None]) @ uv[face])[seen].clip(0, 1 - 1e-9) * texture.shape[0]).astype(int).T
        buffer[y0:y1, x0:x1][seen] = depth[seen]
        picture[y0:y1, x0:x1][seen] = texture[texture.shape[0] - 1 - t, s]
    return picture
