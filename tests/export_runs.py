"""Run folders without a run: a configuration, and a checkpoint of what its scene begins with. Small files of others."""

import json
import struct
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image

from dream3d import assemble, checkpoint, config
from dream3d.cli import main
from dream3d.types import Mesh, Points

SMALL = {"export": {"faces": 200, "texture": 32, "resolution": 24, "frames": 2, "size": 32, "moments": 3}, "device": "cpu"}
BALL = torch.from_numpy(trimesh.creation.icosphere(2, 0.4).vertices).float()


def run_of(path: Path, renderer: dict, *, handed=None, stirred: str = "", steps: tuple[int, ...] = (4,), **settings) -> Path:
    """A run whose scene is at its beginning, or began with `handed`, saved at these steps; `stirred`: parameters whose names begin so
    are a little larger."""
    found = config.load("sds-gaussian", settings={"prompt": "a red car", "renderer": renderer, "out": str(path), **SMALL, **settings})
    scene = assemble.scene(found.stages[0], 0, 0)
    if handed is not None:
        scene.init_from(handed)
    for name, parameter in scene.named_parameters():
        parameter.data += 0.05 * bool(stirred and name.startswith(stirred))
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(found.text(), encoding="utf-8")
    for step in steps:
        about = {"stage": 0, "index": step, "attempt": 0}
        checkpoint.save(path / "checkpoints", step, {"scene": scene.state()}, about)
    return path


def ball() -> Mesh:
    """Closed, coloured by place."""
    faces = torch.from_numpy(np.asarray(trimesh.creation.icosphere(2, 0.4).faces)).long()
    return Mesh(BALL, faces, rgb=(0.5 + BALL).clamp(0, 1))


def discs() -> Points:
    """A ball of solid Gaussians."""
    count = len(BALL)
    turn = torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1)
    return Points(BALL, (0.5 + BALL).clamp(0, 1), torch.full((count, 3), 0.08), turn, torch.full((count,), 0.95))


def cube_of(path: Path, *, side: float = 2.0, at=(0.0, 0.0, 0.0)) -> Path:
    """A textured box of a foreign program, by the suffix: 10 x 20 pixels of red and blue, uvs of its own."""
    box = trimesh.creation.box([side, side / 2, side / 4])
    box.apply_translation(at)
    uv = np.random.default_rng(0).uniform(0.1, 0.9, (len(box.vertices), 2))
    picture = Image.fromarray(np.tile(np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8), (20, 5, 1)))
    if path.suffix == ".ply":
        box.visual.vertex_colors = np.tile([[10, 200, 30, 255]], (len(box.vertices), 1))
    else:
        box.visual = trimesh.visual.TextureVisuals(uv=uv, material=trimesh.visual.material.PBRMaterial(baseColorTexture=picture))
    box.export(path)
    return path


def call(words: list[str], capsys) -> tuple[int, str, str]:
    """The exit code of a command, what it printed, what it said."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    return code, *capsys.readouterr()


def document(path: Path) -> dict:
    """The JSON of a .glb."""
    data = Path(path).read_bytes()
    return json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])


def bounds(path: Path) -> np.ndarray:
    """Lowest and highest coordinates in a file, in the file's axes."""
    return trimesh.load(path, force="mesh").bounds


def faces(path: Path) -> int:
    return len(trimesh.load(path, force="mesh").faces)
