"""What health says of meshes of which it is known."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import trimesh

from dream3d.export.health import health, read
from dream3d.export.report import write_report
from dream3d.types import Mesh


def of(found: trimesh.Trimesh, **more) -> Mesh:
    return Mesh(torch.tensor(found.vertices).float(), torch.tensor(found.faces).long(), **more)


def square(uv: list, *, long: float = 1.0, texture: int | None = None) -> Mesh:
    """Two triangles, `long` metres along x and one along y, with these uvs at its corners."""
    vertices = torch.tensor([[0.0, 0.0, 0.0], [long, 0.0, 0.0], [long, 1.0, 0.0], [0.0, 1.0, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices, faces, uv=torch.tensor(uv)[faces], texture=None if texture is None else torch.rand(texture, texture, 3))


WHOLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize("name, euler", [("icosphere", 2), ("torus", 0)])
def test_closed_surfaces(name, euler):
    found = trimesh.creation.icosphere(subdivisions=2) if name == "icosphere" else trimesh.creation.torus(0.5, 0.2)
    told = health(of(found))
    assert told.watertight and told.winding and told.outward and told.components == 1 and told.euler == euler
    assert (told.triangles, told.vertices) == (len(found.faces), len(found.vertices))
    np.testing.assert_allclose(told.box, found.extents, rtol=1e-6)
    assert told.sound and told.overlap is None and told.texture is None


def test_each_fault_is_counted_and_told():
    found = trimesh.creation.icosphere(subdivisions=2)
    faces = torch.tensor(found.faces).long()
    hole = health(Mesh(of(found).vertices, faces[1:]))
    assert not hole.watertight and hole.open_edges == 3 and "3 edges with one face only: it is not closed" in hole.told()
    mixed = health(Mesh(of(found).vertices, torch.cat([faces[:9].flip(1), faces[9:]])))
    assert not mixed.winding and not mixed.watertight and "neighbouring faces look to opposite sides" in mixed.told()
    inner = health(Mesh(of(found).vertices, faces.flip(1)))
    assert inner.watertight and not inner.outward and inner.complaints == ["faces look inwards"]
    doubled = health(Mesh(of(found).vertices, torch.cat([faces, faces[:2].roll(1, 1), torch.tensor([[4, 4, 5]])])))
    assert doubled.duplicate == 2 and doubled.degenerate == 1 and doubled.crowded_edges > 0
    two = trimesh.util.concatenate([found, found.copy().apply_translation([3, 0, 0])])
    assert health(of(two)).components == 2 and health(of(two)).euler == 4


def test_seams_of_uvs_are_no_holes():
    found = trimesh.creation.icosphere(subdivisions=2)
    mesh = of(found)
    soup = Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), torch.arange(3 * len(mesh.faces)).view(-1, 3))
    assert health(soup).watertight and health(soup).vertices == len(mesh.vertices)


def test_stretch_is_that_of_sander():
    """The L2 norm of a map that shrinks one way by `long`: sqrt((long + 1 / long) / 2) beside one without stretch of the same area."""
    assert health(square(WHOLE)).stretch == pytest.approx(1.0)
    assert health(square(WHOLE, long=4.0)).stretch == pytest.approx(np.sqrt((4 + 1 / 4) / 2))
    turned = [[0.5, 0.0], [1.0, 0.5], [0.5, 1.0], [0.0, 0.5]]
    assert health(square(turned)).stretch == pytest.approx(1.0, abs=1e-5)


def test_density_is_texels_per_metre():
    told = health(square(WHOLE, texture=64))
    assert told.texture == (64, 64) and told.median_density == pytest.approx(64) and told.least_density == pytest.approx(64)
    half = health(square([[0.5 * u, 0.5 * v] for u, v in WHOLE], long=1.0, texture=64))
    assert half.median_density == pytest.approx(32)


def test_overlap_is_the_share_of_texels_used_twice():
    assert health(square(WHOLE)).overlap == 0
    one = square(WHOLE)
    folded = Mesh(one.vertices, one.faces, uv=torch.stack([one.uv[0], one.uv[0]]))
    assert health(folded).overlap == pytest.approx(1.0, abs=0.01)
    assert any("more than one place" in text for text in health(folded).told())
    part = Mesh(one.vertices, one.faces, uv=torch.stack([one.uv[0], one.uv[1] + torch.tensor([0.5, 0.0]).clamp(max=0.4)]))
    assert 0 < health(part).overlap < 0.5
    wide = health(square([[0.0, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]]))
    assert wide.overlap == 1.0  # a texture that repeats


def test_it_is_json_and_says_nothing_of_what_is_not_there():
    told = json.loads(json.dumps(health(square(WHOLE, texture=16)).json(), allow_nan=False))
    assert told["texture"] == [16, 16] and told["box"] == [1.0, 1.0, 0.0]
    flat = square([[0.0, 0.0]] * 4)
    told = health(flat)
    assert told.flat_uv == 2 and told.stretch is None and json.dumps(told.json(), allow_nan=False)
    with pytest.raises(ValueError):
        health(Mesh(torch.rand(3, 3), torch.zeros(0, 3, dtype=torch.long)))


def test_the_report_shows_it_and_bears_any_other_file(tmp_path):
    told = health(square(WHOLE, texture=16))
    path = tmp_path / "mesh.json"
    path.write_text(json.dumps(told.json()))
    assert read(path).told() == told.told()
    (tmp_path / "export").mkdir()
    (tmp_path / "config.yaml").write_text("prompt: a square\n")
    (tmp_path / "export" / "mesh.glb").write_bytes(b"glTF")
    (tmp_path / "export" / "mesh.json").write_text(json.dumps(told.json()))
    assert "16 texels per metre" in write_report(tmp_path).read_text(encoding="utf-8")
    for files, head in (((), "Mesh"), (("mesh.glb", "mesh.stl"), "Mesh"), (("mesh.stl", "mesh.3mf"), "Mesh (mesh.stl, mesh.3mf)")):
        (tmp_path / "export" / "mesh.json").write_text(json.dumps(dataclasses.replace(told, files=files).json()))
        assert f"<h2>{head}</h2>" in write_report(tmp_path).read_text(encoding="utf-8")
    for damaged in ("", "[]", "{", "null", '{"triangles": "<b>"}', json.dumps(told.json() | {"box": None}), "[" * 20000,
                    json.dumps(told.json() | {"stretch": "<script>"}), json.dumps(told.json() | {"more": 1}),
                    json.dumps(told.json() | {"files": [1]})):  # fmt: skip
        path.write_text(damaged)
        assert read(path) is None, damaged[:40]
        (tmp_path / "export" / "mesh.json").write_text(damaged)
        assert "<h2>Mesh</h2>" not in write_report(tmp_path).read_text(encoding="utf-8")
    assert read(tmp_path / "none.json") is None
