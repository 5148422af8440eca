"""Every recipe runs: a few steps of each stage, small, to its last file."""

import pytest

from dream3d import build, config
from dream3d.api import execute
from dream3d.folder import Folder

SMALL = ["steps=4", "keep={preview: 2, steps: 2}", "export.frames=2", "export.size=32", "export.mesh=false"]
SHRINK = {
    "exact": ["prior.size=16", "prior.renders=8", "prior.others=16", "prior.instances=1"],
    "personal": ["prior.size=16", "prior.renders=8", "prior.others=16", "prior.instances=2"],
    "exact_joint": ["prior.size=16", "prior.others=2", "prior.instances=2"],
    "gaussians": ["renderer.count=40"],
    "composed": ["renderer.object.count=40"],
}


@pytest.mark.parametrize("recipe", sorted(p.stem for p in build.place("configs").glob("*.yaml")))
def test_recipe(recipe, tmp_path):
    parts = config.load(recipe).values
    small = [*SHRINK.get(parts["prior"]["type"], []), *SHRINK.get(parts["renderer"]["type"], [])]
    found = config.load(recipe, [*SMALL, *small, f"out={tmp_path / 'run'}"])
    done = execute(Folder(Folder.place(found), found), quiet=True)
    assert done.exports["turntable"].stat().st_size > 0 and done.metrics["step"] == 3 and done.metrics["skipped"] == 0
