"""glTF for the web: valid, smaller, and the same asset; with either axis up."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh
from export_runs import ball, bounds, document
from gltf_validator import valid
from skinned_scenes import coloured, scene

from dream3d.clips import MeshClip
from dream3d.export.formats import Ask, named
from dream3d.export.unwrap import unwrap


@pytest.fixture(scope="module")
def items():
    """A mesh with all pictures, the same moving, a body on joints."""
    noise = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    bump = torch.nn.functional.normalize(0.2 * noise + torch.tensor([0.0, 0.0, 1.0]), dim=-1)
    mesh = dataclasses.replace(unwrap(ball(), 64), texture=noise, orm=noise, bump=bump)
    clip = MeshClip(mesh, torch.stack([mesh.vertices, 1.1 * mesh.vertices, mesh.vertices + 0.1]), torch.tensor([0.0, 0.5, 1.0]))
    with torch.no_grad():
        skin = coloured(scene(motion="wave")).clip(torch.linspace(0, 1, 3))
    return {"mesh": mesh, "mesh-clip": clip, "skin": skin}


def write(item, path, **ask):
    named("glb").write(item, path, Ask({"prompt": "a ball"}, **ask))
    return path


@pytest.mark.parametrize("kind", ["mesh", "mesh-clip", "skin"])
def test_it_is_smaller_and_says_what_it_needs(kind, items, tmp_path):
    usual, small = (write(items[kind], tmp_path / f"{web}.glb", web=web) for web in (False, True))
    assert small.stat().st_size < 0.8 * usual.stat().st_size
    assert small.read_bytes() == write(items[kind], tmp_path / "again.glb", web=True).read_bytes()
    before, after = document(usual), document(small)
    needed = ["KHR_mesh_quantization"] + (["EXT_texture_webp"] if "images" in before else [])
    assert after["extensionsRequired"] == sorted(needed) and after.get("animations") == before.get("animations")
    assert after["nodes"] == before["nodes"] and after["asset"] == before["asset"]
    one, two = (trimesh.load(path, force="mesh", process=False) for path in (usual, small))
    assert np.array_equal(one.vertices, two.vertices) and np.array_equal(one.faces, two.faces)
    if kind == "mesh":
        np.testing.assert_allclose(one.visual.uv, two.visual.uv / 65535, atol=1e-4)  # trimesh takes whole numbers as they are
        pictures = [np.asarray(m.visual.material.normalTexture.convert("RGB")) for m in (one, two)]
        assert np.array_equal(*pictures), "normals lose nothing"


@pytest.mark.parametrize("kind", ["mesh", "mesh-clip", "skin"])
def test_the_worlds_axes_may_stay(kind, items, tmp_path):
    y, z = (bounds(write(items[kind], tmp_path / f"{up}.glb", up=up)) for up in "yz")
    np.testing.assert_allclose(y[0], [z[0, 0], z[0, 2], -z[1, 1]], atol=1e-6)
    np.testing.assert_allclose(y[1], [z[1, 0], z[1, 2], -z[0, 1]], atol=1e-6)


@pytest.mark.parametrize("kind", ["mesh", "mesh-clip", "skin"])
def test_khronos_finds_nothing(kind, items, tmp_path):
    for up in "yz":
        valid(write(items[kind], tmp_path / "small.glb", web=True, up=up), allowed=())
