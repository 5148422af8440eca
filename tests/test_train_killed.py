"""Trainings of every kind in processes of their own, one of them killed: with other hash seeds and other memory the bits are the same."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dream3d.toybox.training import store
from dream3d.toybox.training.presets import TIERS

pytest.importorskip("diffusers", reason="diffusers is not installed: pip install dream3d[diffusion]")

ROOT = Path(__file__).parents[1]
CHILD = """
import os, signal, sys
from pathlib import Path
import torch
sys.path[:0] = ["tests"]
import test_train_over as over, test_train_prior as pixels
from dream3d.toybox import train
from dream3d.toybox.training import check
train.WARM, train.SAVE, check.STEPS = 2, 0.0, 2
if "DIES" in os.environ:
    whole, steps = torch.optim.AdamW.step, iter((False, False, True))
    def step(self, *more):
        whole(self, *more)
        if next(steps):
            os.kill(os.getpid(), signal.SIGKILL)
    torch.optim.AdamW.step = step
for name, folder, base in zip(*[iter(sys.argv[1:])] * 3):
    if over.TIERS[name].kind == "pixels":
        pixels.training(Path(folder), steps=4)
    else:
        over.training(name, Path(folder), Path(base) if base else None)
"""


def child(seed, *words, **more):
    """What a process returns that trains; DIES: it is killed within its third step."""
    told = os.environ | {"PYTHONHASHSEED": str(seed), "DREAM3D_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""} | more
    call = [sys.executable, "-c", CHILD, *map(str, words)]
    return subprocess.run(call, cwd=ROOT, env=told, stdout=subprocess.DEVNULL, timeout=900, check=False).returncode


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Every kind without a stop: name -> (base or "", folder)."""
    folder = tmp_path_factory.mktemp("whole")
    over = {name: folder / "toybox-latent" / "pipeline" if tier.base else "" for name, tier in TIERS.items() if name != "toybox"}
    assert not child(1, *(word for name, base in over.items() for word in (name, folder / name, base)))
    return {name: (base, folder / name) for name, base in over.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TIERS if name != "toybox"])  # which is as toybox-32
def test_a_training_that_was_killed_gives_the_same_weights(whole, tmp_path, name):
    base, unstopped = whole[name]
    work = tmp_path / name
    assert child(2, name, work, base, DIES="1") == -signal.SIGKILL
    assert store.checkpoints(work)[-1].name == "step_000002"
    assert child(3, name, work, base) == 0
    (_, _, one), (_, about, other) = store.newest(unstopped), store.newest(work)
    assert about["step"] == 4 and one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert all(path.stat().st_size < 16e6 for path in work.rglob("*") if path.is_file())
