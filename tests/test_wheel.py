"""The built wheel, alone in an environment without a checkout, runs the main job."""

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import dream3d

ROOT = Path(dream3d.__file__).parent.parent
SHORT = ["steps=3", "renderer.count=60", "keep.preview=0", "cameras.batch=2", "prior={size: 16, renders: 8, others: 16, instances: 1}",
         "export={faces: 300, texture: 64, resolution: 24, frames: 2, size: 32}"]  # fmt: skip


def build_wheel(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def empty_environment(folder: Path) -> Path:
    """An environment that finds our dependencies where they are installed now, but not this checkout: .pth files are read in
    an environment's own site-packages only."""
    venv.create(folder, with_pip=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def test_the_wheel_runs_outside_the_checkout(tmp_path):
    wheel, python = build_wheel(tmp_path / "dist"), empty_environment(tmp_path / "venv")
    names = zipfile.ZipFile(wheel).namelist()
    assert "dream3d/guidance/sds.py" in names and "dream3d/configs/sds-gaussian.yaml" in names
    assert not [n for n in names if n.startswith(("tests/", "docs/", "dream3d/tests")) or "__pycache__" in n]
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--no-index", wheel], check=True, capture_output=True)
    command = [python.parent / "dream3d", "--config", "sds-gaussian.yaml", "prompt=a red car", "out=car", *SHORT]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    where = subprocess.run(
        [python, "-c", "import dream3d; print(dream3d.__file__)"], cwd=tmp_path, capture_output=True, text=True
    )
    assert str(tmp_path) in where.stdout
    assert json.loads((tmp_path / "car" / "status.json").read_text())["state"] == "done"
    assert all((tmp_path / "car" / "export" / name).stat().st_size > 0 for name in ("splats.ply", "mesh.glb"))
