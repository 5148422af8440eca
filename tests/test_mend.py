"""Meshes of users that are odd: what is mended or kept is said, what cannot be is refused; and where things are placed."""

import dataclasses

import pytest
import torch
from foreign_files import ball, saved
from test_export_files import gaussians

from dream3d.errors import Mistake
from dream3d.export.glb import write_glb
from dream3d.export.splat import write_ply
from dream3d.foreign.load import load
from dream3d.foreign.mend import mended
from dream3d.types import Mesh


def changed(**values) -> Mesh:
    return dataclasses.replace(ball(), **values)


def test_a_good_mesh_is_left_alone():
    mesh, said = mended(ball())
    assert said == [] and torch.equal(mesh.vertices, ball().vertices) and torch.equal(mesh.faces, ball().faces)


def test_what_cannot_be_mended_is_refused():
    vertices = ball().vertices.clone()
    vertices[3, 1] = torch.nan
    bad = {"not finite": changed(vertices=vertices), "no faces": changed(faces=torch.zeros(0, 3).long()),
           "not there": changed(faces=ball().faces + 1), "area": changed(vertices=torch.zeros_like(vertices)),
           "of 162 vertices": changed(vertices=torch.full_like(vertices, torch.inf))}  # fmt: skip
    for words, mesh in bad.items():
        with pytest.raises(Mistake, match=words) as caught:
            mended(mesh, where="a.glb")
        assert caught.value.code == 2 and caught.value.where == "a.glb"


def test_what_can_be_mended_is_said():
    good = ball()
    uv = torch.rand(len(good.faces), 3, 2, generator=torch.Generator().manual_seed(0))
    turned, said = mended(changed(faces=good.faces.flip(1), uv=uv))
    assert said == ["inside out: turned"] and torch.equal(turned.faces, good.faces) and torch.equal(turned.uv, uv.flip(1))
    more = torch.cat([good.faces, torch.tensor([[5, 5, 7]]), good.faces[:2].flip(1)])
    cleaned, said = mended(changed(faces=more))
    assert [line.split(":")[1] for line in said] == [" left out"] * 2 and torch.equal(cleaned.faces, good.faces)
    spare = torch.cat([torch.tensor([[9.0, 9, 9]]), good.vertices])
    cleaned, said = mended(changed(vertices=spare, faces=good.faces + 1))
    assert said == ["1 of 163 vertices are of no face: left out"] and torch.equal(cleaned.vertices, good.vertices)


def test_what_is_odd_is_said_and_kept():
    good = ball()
    _, said = mended(changed(faces=good.faces[1:]))
    assert said == ["3 edges have one face only: it is not closed"]
    fin = torch.cat([good.faces, torch.tensor([[*good.faces[0, :2].tolist(), len(good.vertices)]])])
    mesh, said = mended(changed(faces=fin, vertices=torch.cat([good.vertices, torch.ones(1, 3)])))
    assert said[-1] == "1 edges have more than two faces: not a manifold" and len(mesh.faces) == len(fin)
    flipped = good.faces.clone()
    flipped[0] = flipped[0].flip(0)
    assert mended(changed(faces=flipped))[1] == ["3 edges lie between faces that look to different sides"]
    for scale, word in ((1e-4, "tiny"), (1e20, "huge"), (1e36, "huge"), (1e-30, "tiny")):
        mesh, said = mended(changed(vertices=good.vertices * scale))
        assert word in said[-1] and len(said) == 1 and len(mesh.faces) == len(good.faces)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e3, 1e30])
def test_fitting(tmp_path, scale):
    mesh = changed(vertices=(ball().vertices * torch.tensor([1.0, 0.5, 0.25]) + 3) * scale)
    write_glb(mesh, tmp_path / "a.glb", {})
    placed, said = load(tmp_path / "a.glb")
    assert "fit" in said[-1] and float(placed.vertices.abs().max()) == pytest.approx(0.7)
    span = placed.vertices.amax(0) - placed.vertices.amin(0)
    torch.testing.assert_close(span / span.max(), torch.tensor([1.0, 0.5, 0.25]), atol=1e-4, rtol=1e-3)
    kept, _ = load(tmp_path / "a.glb", fit=False)
    assert torch.equal(kept.vertices, mesh.vertices)


def test_what_is_placed_already_stays_unless_fit_is_asked_for(tmp_path):
    write_glb(ball(), tmp_path / "a.glb", {})
    assert torch.equal(load(tmp_path / "a.glb")[0].vertices, ball().vertices)
    assert float(load(tmp_path / "a.glb", fit=True)[0].vertices.abs().max()) == pytest.approx(0.7)
    write_ply(gaussians(20), tmp_path / "a.ply")
    kept, fitted = load(tmp_path / "a.ply", fit=False)[0], load(tmp_path / "a.ply", fit=True)[0]
    ratio = 1.4 / float((kept.position.amax(0) - kept.position.amin(0)).max())
    torch.testing.assert_close(fitted.scale, kept.scale * ratio)


def test_what_is_no_such_file(tmp_path):
    saved(tmp_path / "car.glb", b"glTF")
    wrong = {"cat.glb": "there is no file", "": "is no file", "car.fbx": "no kind", "car.ply": "not what its name", "car.obj": "not what"}
    for name, words in wrong.items():
        if name.startswith("car"):
            saved(tmp_path / name, b"\0\1\2")
        with pytest.raises(Mistake, match=words) as caught:
            load(tmp_path / name)
        assert caught.value.near and len(str(caught.value).splitlines()) <= 5
