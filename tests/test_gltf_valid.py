"""Khronos' validator on every kind of GLB that is written: nothing to complain of, not even a hint."""

import dataclasses

import pytest
import torch
from gltf_validator import SPLATS, valid, validate
from solid_scenes import box
from test_export_files import gaussians

from dream3d.export.formats import Ask, named
from dream3d.types import Mesh

FACTS = {"prompt": "a \u201cred\u201d car\n<b>", "seed": 3, "models": [{"name": "x", "licence": "MIT"}], "lighting": "baked"}
KINDS = {
    "baked": box(),
    "material": box(lit=True),
    "vertices": box(textured=False),
    "plain": dataclasses.replace(box(textured=False), rgb=None),
}


def write(item, folder, **ask):
    path = folder / "mesh.glb"
    named("glb").write(item, path, Ask(FACTS, **ask))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_mesh(tmp_path, kind):
    info = valid(write(KINDS[kind], tmp_path))
    assert (info["drawCallCount"], info["totalTriangleCount"], info["version"]) == (1, 12, "2.0")
    assert info["materialCount"] == 1 and info["hasTextures"] is (kind in ("baked", "material"))


def test_gaussians(tmp_path):
    """Of the extension the validator knows nothing: it takes its attributes for mistakes, and finds no others."""
    path = tmp_path / "splats.glb"
    named("khr-glb").write(gaussians(coefficients=16), path, Ask(FACTS))
    info = valid(path, allowed=SPLATS)
    assert (info["drawCallCount"], info["totalVertexCount"]) == (1, 7)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_mesh_for_the_web(tmp_path, kind):
    info = valid(write(KINDS[kind], tmp_path, web=True))
    assert info["totalTriangleCount"] == 12


def test_many_triangles_without_a_pattern(tmp_path):
    """Uvs, normals and tangents of a random soup, triangles of no area among them, are still such as the specification wants."""
    make = torch.Generator().manual_seed(0)
    vertices = torch.rand(300, 3, generator=make)
    faces = torch.randint(0, 300, (500, 3), generator=make)
    maps = torch.rand(16, 16, 3, generator=make)
    mesh = Mesh(vertices, faces, uv=torch.rand(500, 3, 2, generator=make), texture=maps, orm=maps, bump=2 * maps - 1)
    valid(write(mesh, tmp_path))


def test_the_validator_finds_what_is_wrong(tmp_path):
    path = write(box(), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"KHR_materials_unlit"]', b'"KHR_materials_unlix"]'))
    assert {message.severity for message in validate(path)[0]} & {"error", "warning"}
    with pytest.raises(AssertionError):
        valid(path)
