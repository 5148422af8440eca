"""A volume, its surface, its texture: three stages that survive a kill in and between them, to the bit."""

import hashlib

import pytest
import torch
from dream3d.systems.text_to_3d import TextTo3D

from dream3d import config
from dream3d.api import execute
from dream3d.folder import Folder

STAGES = ("stages=[{share: 1}, {share: 1, renderer: {type: dmtet, resolution: 8, subdivide: [0.5], train: geometry}, "
          "guidance: {type: sds, sees: normal}, penalties: {normal_consistency: 0.01}}, "
          "{share: 1, renderer: {type: mesh, train: texture, appearance: texture, texture: 32}}]")  # fmt: skip
SMALL = ["prompt=0", "prior={type: mixture, size: 16}", "renderer={type: hashgrid, samples: 16, grid: 24, occupancy: 8, blob_strength: 60}",
         "cameras.batch=2", "steps=12", "keep={preview: 0, steps: 2, seconds: 0}", "penalties={}", "guidance={type: vsd}",
         "export={faces: 300, texture: 64, resolution: 24, frames: 2, size: 32}", STAGES]  # fmt: skip


class Killed(BaseException):
    """Stands for kill -9."""


def folder(out) -> Folder:
    found = config.load("sds-gaussian", [*SMALL, f"out={out}"])
    return Folder(Folder.place(found), found)


def digest(run) -> str:
    return hashlib.sha256((run / "export" / "mesh.glb").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return execute(folder(tmp_path_factory.mktemp("stages") / "run"), quiet=True)


def test_each_stage_starts_from_the_one_before(whole):
    """The untrained geometry of the last stage is the second's surface, which is the volume's ball."""
    handed = whole.scene.handover()
    radius = handed.vertices.norm(dim=1)
    assert 0.3 < radius.mean() < 0.65 and handed.texture is not None
    assert type(whole.scene).__name__ == "TriangleMesh"


@pytest.mark.parametrize("step", [1, 3, 4, 6, 7, 8, 11])
def test_killed_in_and_between_stages_the_same_bytes(whole, tmp_path, monkeypatch, step):
    real, count = TextTo3D.step, [0]

    def dying(self, index):
        count[0] += 1
        if count[0] == step + 1:
            raise Killed
        return real(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(TextTo3D, "step", dying)
        first = folder(tmp_path / "run")
        with pytest.raises(Killed):
            execute(first, quiet=True)
        first.lock.release(force=True)
    again = execute(folder(tmp_path / "run"), quiet=True)
    assert digest(again.path) == digest(whole.path)
    one, other = whole.scene.state(), again.scene.state()
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
