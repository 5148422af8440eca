"""Textures of users: odd sizes, all maps of a material, tiles of a sheet, repeated ones."""


import numpy as np
import pytest
import torch
import torch.nn.functional as F
from foreign_files import document, glb, pixels, png, saved

from dream3d.errors import Mistake
from dream3d.foreign.load import load


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (257, 5)])
def test_textures_of_odd_sizes(tmp_path, size):
    mesh, said = load(saved(tmp_path / "a.glb", glb(*document(texture=png(*size)))), fit=False)
    np.testing.assert_array_equal((mesh.texture * 255).round().numpy(), pixels(*size))
    assert mesh.orm is None and mesh.bump is None and said == []


def test_a_texture_that_is_too_large_is_made_smaller_or_refused(tmp_path):
    mesh, said = load(saved(tmp_path / "a.glb", glb(*document(texture=png(5000, 10)))), fit=False)
    assert mesh.texture.shape[1] == 4096 and any("made smaller" in line for line in said)
    with pytest.raises(Mistake, match="at most 8192"):
        load(saved(tmp_path / "b.glb", glb(*document(texture=png(9000, 1)))))


def test_all_maps_of_a_material(tmp_path):
    made, blob = document(texture=png(8, 8))
    made["materials"][0]["normalTexture"] = {"index": 0}
    made["materials"][0]["occlusionTexture"] = {"index": 0}
    made["materials"][0]["pbrMetallicRoughness"] |= {"metallicRoughnessTexture": {"index": 0}, "metallicFactor": 0.5}
    mesh, _ = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    texels = pixels(8, 8).astype(np.float32)
    np.testing.assert_allclose(mesh.bump.numpy(), texels / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(mesh.orm.numpy(), texels / 255 * [1, 1, 0.5], atol=0.51 / 255)


def test_tiles_of_a_sheet_do_not_bleed_into_each_other(tmp_path):
    """Read between texels at its edges, a repeated texture goes on with its other side, and one that does not with its own."""
    for wrap, expected in ((10497, (np.float32(pixels(8, 8)[:, 0]) + pixels(8, 8)[:, -1]) / 2), (33071, np.float32(pixels(8, 8)[:, 0]))):
        made, blob = document(texture=png(8, 8))
        made["samplers"], made["textures"][0]["sampler"] = [{"wrapS": wrap, "wrapT": wrap}], 0
        made["materials"].append({"pbrMetallicRoughness": {"baseColorFactor": [1, 1, 1, 1]}})
        part = made["meshes"][0]["primitives"][0]
        made["meshes"][0]["primitives"] = [part, {**part, "material": 1}]
        made["nodes"], made["scenes"] = [{"mesh": 0}, {"mesh": 0, "translation": [5, 0, 0]}], [{"nodes": [0, 1]}]
        mesh, _ = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
        left = float(mesh.uv[..., 0].amin())  # of the texture: u of the tile of one colour is in its middle
        low, high = mesh.uv[:4, :, 1].amin(), mesh.uv[:4, :, 1].amax()
        rows = high - (high - low) * (torch.arange(8) + 0.5) / 8
        grid = torch.stack([torch.full((8,), 2 * left - 1), 1 - 2 * rows], -1)[None, None]
        seen = F.grid_sample(mesh.texture.movedim(-1, 0)[None], grid, align_corners=False)[0, :, 0].T
        np.testing.assert_allclose(255 * seen.numpy(), expected, atol=0.05)


def test_uv_that_repeat_a_texture(tmp_path):
    made, blob = document(texture=png(6, 4))
    made["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = {"KHR_texture_transform": {"scale": [3, 1]}}
    once, _ = load(saved(tmp_path / "a.glb", glb(*document(texture=png(6, 4)))), fit=False)
    mesh, said = load(saved(tmp_path / "b.glb", glb(made, blob)), fit=False)
    assert mesh.texture.shape == (4, 18, 3) and torch.equal(mesh.texture[:, :6], once.texture) and float(mesh.uv.max()) <= 1
    torch.testing.assert_close(mesh.uv, once.uv)  # three times as far, on what is three times as wide
    for line in ("wrapS", "wrapT"):
        made["samplers"] = [{**made.get("samplers", [{}])[0], line: 33071}]
    made["textures"][0]["sampler"] = 0
    mesh, _ = load(saved(tmp_path / "c.glb", glb(made, blob)), fit=False)
    assert mesh.texture.shape == (4, 6, 3) and float(mesh.uv.max()) == 1
