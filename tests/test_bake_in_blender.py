"""A baked asset as a real Blender draws it: beside our rasteriser, and beside the scene that it was made of."""

import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from export_scene import Blocks
from PIL import Image

from dream3d.bench.bake import alike, cameras, drawn, seen
from dream3d.blender import find
from dream3d.cameras import FOVY
from dream3d.errors import Mistake
from dream3d.export.glb import write_glb
from dream3d.export.surface import surface
from dream3d.export.texture import bake

SIZE, SAMPLES = 96, 16
pytestmark = pytest.mark.slow


def blender(path: Path, folder: Path, views, size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """Premultiplied colours and alphas of a glb."""
    words = {"cameras": torch.cat([view.to_world for view in views]).tolist(), "angle": math.radians(FOVY), "size": size}
    (folder / "request.json").write_text(json.dumps(words | {"samples": SAMPLES}))
    script = Path(__file__).with_name("blender_views.py")
    environment = os.environ | {"BLENDER_USER_RESOURCES": str(folder / "user")}
    done = subprocess.run([*find.command(), str(script), "--", str(path), str(folder / "request.json"), str(folder)],
                          env=environment, capture_output=True, text=True, timeout=280)  # fmt: skip
    pictures = [folder / f"{number}.png" for number in range(len(torch.cat([view.azimuth for view in views])))]
    assert all(picture.is_file() for picture in pictures), done.stdout + done.stderr
    found = torch.from_numpy(np.stack([np.asarray(Image.open(picture).convert("RGBA")) for picture in pictures])).float() / 255
    return found[..., :3] * found[..., 3:], found[..., 3:]


@torch.no_grad()
def test_blender_shows_the_asset_as_we_do_and_as_the_scene_was(tmp_path):
    """Colours, sides, size and place: half a turn, a mirror, another lens or another colour space would each be far off."""
    try:
        find.command()
    except Mistake as mistake:
        pytest.skip(str(mistake.lines[0]))
    asset = bake(surface(Blocks(), resolution=64, views=32, size=128), Blocks(), faces=3000, texture=256, views=16, size=192)
    write_glb(asset, tmp_path / "a.glb", {})
    there = blender(tmp_path / "a.glb", tmp_path, cameras(SIZE))
    ours, scene = seen(drawn(asset), SIZE), seen(Blocks(), SIZE)
    same, true = alike(ours, there), alike(scene, there)
    assert same["iou"] > 0.985 and same["psnr"] > 33 and same["worst_psnr"] > 30
    assert true["iou"] > 0.95 and true["psnr"] > 27
    assert alike(ours, tuple(part.flip(2) for part in there))["psnr"] < 25
