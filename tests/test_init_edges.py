"""Strange files of artists: what comes out is what went in, and what cannot be kept is said."""

import torch
from dream3d.renderers.mesh import TriangleMesh
from foreign_files import document, glb, pixels, png

from dream3d.export.asset import export
from dream3d.foreign.load import load
from dream3d.options import Export

SMALL = Export(frames=1, size=16)


def saved(path, data: bytes | str):
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# --- what comes out -------------------------------------------------------------------------------------------------------------


def scene(mesh, texture: int) -> TriangleMesh:
    made = TriangleMesh(torch.Generator().manual_seed(0), appearance="texture", train="texture", texture=texture, smooth=False)
    made.init_from(mesh)
    return made


def test_an_open_mesh_with_a_texture_comes_out_with_its_triangles_and_uv(tmp_path):
    """Also one that a surface reconstruction would close; texels that were not optimised are the ones it had."""
    made, blob = document(texture=png(8, 8))
    made["accessors"][1]["count"] = 9  # a side less
    mesh, said = load(saved(tmp_path / "a.glb", glb(made, blob)), fit=False)
    assert any("not closed" in line for line in said)
    out = export(scene(mesh, 8), tmp_path / "export", SMALL, extras={})
    back, _ = load(out["mesh"], fit=False)
    away, order = torch.cdist(mesh.vertices, back.vertices).min(1)
    assert len(back.vertices) == 4 and float(away.max()) < 1e-6
    assert torch.equal(back.faces, order[mesh.faces]) and torch.equal(back.uv, mesh.uv)
    seen = (back.texture - mesh.texture).abs().amax(-1) == 0
    assert float(seen.float().mean()) > 0.3  # others lie under no face, and repeat their neighbours
    assert torch.equal((mesh.texture * 255).round().byte(), torch.from_numpy(pixels(8, 8)))
