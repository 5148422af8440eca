"""Broken meshes made whole: what is loose, doubled, open or turned, and what must stay as it is."""

import dataclasses

import numpy as np
import pytest
import torch
import trimesh

from dream3d.errors import Mistake
from dream3d.export.clean import clean
from dream3d.export.decimate import closed
from dream3d.export.health import health
from dream3d.types import Mesh


def ball(radius: float = 0.5, at=(0.0, 0.0, 0.0), subdivisions: int = 3) -> Mesh:
    found = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(torch.tensor(found.vertices + np.array(at)).float(), torch.tensor(found.faces).long())


def both(*meshes: Mesh) -> Mesh:
    shift = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = [mesh.faces + int(more) for mesh, more in zip(meshes, shift, strict=False)]
    return Mesh(torch.cat([mesh.vertices for mesh in meshes]), torch.cat(faces))


def volume(mesh: Mesh) -> float:
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).volume


def test_a_sound_mesh_stays_the_same():
    mesh = ball()
    after, said = clean(mesh)
    assert said == [] and after.vertices.equal(mesh.vertices) and after.faces.equal(mesh.faces)


def test_loose_bits_go_and_parts_of_the_object_stay():
    mesh = both(ball(), ball(0.02, (0.7, 0, 0), 1), ball(0.2, (0, 0, 0.8), 2))
    after, said = clean(mesh)
    assert health(after).components == 2 and said == ["1 loose part with 0.13% of the surface: dropped"]
    only, _ = clean(mesh, keep=0.5)
    assert health(only).components == 1 and len(only.faces) == len(ball().faces)
    assert len(only.vertices) == len(ball().vertices)


def test_a_soup_of_triangles_is_joined_and_colours_come_along():
    mesh = ball()
    soup = Mesh(mesh.vertices[mesh.faces].reshape(-1, 3), torch.arange(3 * len(mesh.faces)).view(-1, 3),
                rgb=mesh.vertices[mesh.faces].reshape(-1, 3) + 0.5)  # fmt: skip
    assert health(soup).watertight  # by place, which files with seams need
    after, said = clean(soup)
    assert closed(after.faces) and len(after.vertices) == len(mesh.vertices) and "joined" in said[0]
    torch.testing.assert_close(after.rgb, after.vertices + 0.5)
    loose, _ = clean(soup, weld=False, keep=0.0)
    assert len(loose.vertices) == len(soup.vertices)


def test_joining_does_not_make_an_edge_of_four_faces():
    """Two boxes that touch along an edge are two closed parts, and stay so."""
    box = trimesh.creation.box()
    one = Mesh(torch.tensor(box.vertices).float(), torch.tensor(box.faces).long())
    other = dataclasses.replace(one, vertices=one.vertices + torch.tensor([1.0, 1.0, 0.0]))
    after, said = clean(both(one, other))
    assert closed(after.faces) and said == [] and len(after.vertices) == 16


def test_small_holes_are_filled_and_large_ones_are_not():
    mesh = ball()
    keep = torch.ones(len(mesh.faces), dtype=torch.bool)
    around = (mesh.faces == int(mesh.faces[700, 0])).any(1)
    keep[around] = False
    keep[20] = False
    holed = dataclasses.replace(mesh, faces=mesh.faces[keep])
    assert health(holed).open_edges == 3 + int(around.sum())
    after, said = clean(holed)
    assert closed(after.faces) and said == ["2 holes filled"]
    assert volume(after) == pytest.approx(volume(mesh), rel=0.01)
    bowl = dataclasses.replace(mesh, faces=mesh.faces[mesh.vertices[mesh.faces][..., 2].amin(1) < 0.1])
    left, said = clean(bowl)
    assert len(left.faces) == len(bowl.faces) and said == ["1 hole left open: too large to be a flaw"]
    whole, _ = clean(bowl, hole=1.0)
    assert closed(whole.faces)


def test_the_lid_of_a_textured_hole_has_the_colour_beside_it():
    mesh = ball()
    uv = mesh.vertices[mesh.faces][..., :2] + 0.5
    keep = ~(mesh.faces == int(mesh.faces[700, 0])).any(1)
    holed = Mesh(mesh.vertices, mesh.faces[keep], uv=uv[keep], texture=torch.rand(8, 8, 3), label=torch.arange(int(keep.sum())))
    after, _ = clean(holed)
    lid = after.uv[int(keep.sum()) :]
    assert closed(after.faces) and len(after.uv) == len(after.faces) == len(after.label)
    assert (torch.cdist(lid.reshape(-1, 2), uv[~keep].reshape(-1, 2)).amin(1) < 0.05).all()


def test_faces_that_look_the_wrong_way_are_turned_with_their_uvs():
    mesh = ball()
    mesh = dataclasses.replace(mesh, uv=mesh.vertices[mesh.faces][..., :2])
    wrong = torch.from_numpy(np.random.default_rng(0).random(len(mesh.faces)) < 0.3)
    twisted = dataclasses.replace(mesh, faces=torch.where(wrong[:, None], mesh.faces.flip(1), mesh.faces),
                                  uv=torch.where(wrong[:, None, None], mesh.uv.flip(1), mesh.uv))  # fmt: skip
    assert not health(twisted).winding
    after, said = clean(twisted)
    assert closed(after.faces) and volume(after) > 0 and f"{int(wrong.sum())} faces turned" in said[0]
    torch.testing.assert_close(after.uv, after.vertices[after.faces][..., :2])
    inside_out, said = clean(dataclasses.replace(mesh, faces=mesh.faces.flip(1), uv=None))
    assert volume(inside_out) > 0 and said == [f"{len(mesh.faces)} faces turned outwards".replace("1280", "1,280")]


def test_the_wall_of_a_hollow_keeps_looking_into_it():
    hollow = ball(0.2)
    mesh = both(ball(), dataclasses.replace(hollow, faces=hollow.faces.flip(1)))
    after, said = clean(mesh)
    assert said == [] and volume(after) == pytest.approx(volume(mesh))


def test_faces_of_nothing_and_faces_twice_go():
    mesh = ball()
    more = torch.cat([mesh.faces, mesh.faces[:5].roll(1, 1), mesh.faces[7:8].flip(1), torch.tensor([[3, 3, 4]])])
    after, said = clean(dataclasses.replace(mesh, faces=more))
    assert closed(after.faces) and said == ["1 face without area: left out", "6 faces there already: left out"]


def test_nothing_left_is_a_mistake():
    point = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    for mesh in (point, Mesh(torch.rand(3, 3), torch.zeros(0, 3, dtype=torch.long)), Mesh(torch.full((3, 3), torch.nan), point.faces)):
        with pytest.raises(Mistake):
            clean(mesh)
