"""Triangles that follow a surface, and steps that move it as a whole."""

import dataclasses

import numpy as np
import pytest
import torch
from dream3d.renderers._remesh import Net, _collapse, _flip, edges, remesh
from dream3d.renderers._stiff import Stiff
from dream3d.renderers.mesh import TriangleMesh, ball
from scipy.spatial import Delaunay
from trimesh import creation
from trimesh.remesh import subdivide_to_size

from dream3d.cameras import ring
from dream3d.export.decimate import closed
from dream3d.optim import Adam
from dream3d.schedule import Ramp
from dream3d.types import Mesh, Step


def net_of(mesh: Mesh) -> Net:
    place = mesh.vertices.double().numpy()
    return Net(np.concatenate([place, place], 1), mesh.faces.numpy().copy(), np.arange(len(place)), np.zeros(len(mesh.faces), np.int64))


def bent() -> Mesh:
    """An ellipsoid pulled long on one side, so that its triangles are uneven."""
    mesh = ball(1280, (0.7, 0.5, 0.3))
    x = mesh.vertices
    return dataclasses.replace(mesh, vertices=torch.where(x[:, :1] > 0, x * torch.tensor([1.6, 1.0, 0.5]), x))


def lengths(net: Net) -> np.ndarray:
    e = edges(net.faces)
    return np.linalg.norm(net.place[e.ends[:, 0]] - net.place[e.ends[:, 1]], axis=1)


def volume(vertices, faces) -> float:
    a, b, c = (torch.as_tensor(vertices).double()[torch.as_tensor(faces)[:, k]] for k in range(3))
    return float((torch.linalg.cross(a, b) * c).sum()) / 6


# --- remeshing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0.03, 0.05, 0.12])
def test_remeshing_keeps_the_surface_and_evens_its_triangles(length):
    mesh = bent()
    net, before = net_of(mesh), volume(mesh.vertices, mesh.faces)
    for _ in range(3):
        net = remesh(net, length, 50_000)
        e = edges(net.faces)
        assert closed(torch.from_numpy(net.faces)) and len(net.rows) - len(e.ends) + len(net.faces) == 2
    assert volume(net.place, net.faces) == pytest.approx(before, rel=0.01 if length < 0.1 else 0.05)
    size, valence = lengths(net), np.bincount(e.ends.reshape(-1))
    assert 0.85 * length < size.mean() < 1.2 * length and np.quantile(size, 0.99) < 1.6 * length
    assert np.abs(valence - 6).mean() < 0.6 and np.ptp(size) < 2.5 * length
    assert np.abs(net.rows[:, 3:] - net.place).max() < length  # what goes with a vertex stays with it
    assert np.unique(net.source).size <= len(mesh.vertices) and net.source.max() < len(mesh.vertices)


def test_remeshing_is_repeatable_and_heeds_its_limit():
    one, two = (remesh(net_of(bent()), 0.02, 3000) for _ in range(2))
    assert np.array_equal(one.rows, two.rows) and np.array_equal(one.faces, two.faces) and len(one.faces) <= 3000


@pytest.mark.parametrize("faces", [20, 80, 320])
def test_nothing_shrinks_to_nothing(faces):
    """Edges wanted far longer than the ball is wide: it becomes coarse, and stays closed."""
    net = net_of(ball(faces, (0.5, 0.3, 0.2)))
    for _ in range(6):
        net = remesh(net, 5.0, 1000)
    assert closed(torch.from_numpy(net.faces)) and 4 <= len(net.faces) <= faces
    assert len({tuple(sorted(face)) for face in net.faces.tolist()}) == len(net.faces)


def test_borders_and_labels_stay():
    """An open square of two labels: its outline and the line between the labels are where they were."""
    x = torch.cartesian_prod(torch.linspace(-0.5, 0.5, 9), torch.linspace(-0.5, 0.5, 9))
    corner = torch.arange(81).view(9, 9)
    a, b, c, d = (v.flatten() for v in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]))
    faces = torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])
    mesh = Mesh(torch.cat([x, 0 * x[:, :1]], 1), faces)
    net = net_of(mesh)
    net.label = (mesh.vertices[faces].mean(1)[:, 0] > 0).long().numpy()
    area = lambda net: 0.5 * np.linalg.norm(  # noqa: E731
        np.cross(*(net.place[net.faces[:, k]] - net.place[net.faces[:, 0]] for k in (1, 2))), axis=1
    )
    net = remesh(net, 0.05, 50_000)
    assert area(net).sum() == pytest.approx(1, abs=1e-9) and np.abs(net.place[:, 2]).max() < 1e-12
    assert area(net)[net.label == 1].sum() == pytest.approx(0.5, abs=0.02) and len(net.faces) > 400


def tube(around: int, rings: int, radius: float) -> Mesh:
    """Of unit length, closed by a tip at either end."""
    angle = 2 * np.pi * np.arange(around) / around
    x = [(radius * np.cos(a), radius * np.sin(a), z) for z in np.linspace(0, 1, rings) for a in angle]
    x += [(0, 0, -radius), (0, 0, 1 + radius)]
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(around), indexing="ij")
    a, b = (i * around + j).ravel(), (i * around + (j + 1) % around).ravel()
    low, high, first = len(x) - 2, len(x) - 1, (rings - 1) * around
    tips = [face for k in range(around) for face in ((low, (k + 1) % around, k), (high, first + k, first + (k + 1) % around))]
    faces = np.concatenate([np.stack([a, b, b + around], 1), np.stack([a, b + around, a + around], 1), tips])
    return Mesh(torch.tensor(x).float(), torch.from_numpy(faces))


@pytest.mark.parametrize("around", [3, 4])
def test_a_thin_tube_is_not_pinched(around):
    """Three edges around it are no face: none of them may shrink to a point, which would leave two parts that touch there."""
    mesh = tube(around, 21, 0.04)
    for length in (0.1, 0.3):
        net = net_of(mesh)
        for _ in range(4):
            net = remesh(net, length, 50_000)
            e = edges(net.faces)
            assert (e.count == 2).all() and len(net.rows) - len(e.ends) + len(net.faces) == 2


def test_a_flip_moves_no_label():
    """Whatever is flipped in a plane, every label covers what it did."""
    g = np.random.default_rng(0)
    x = torch.cartesian_prod(torch.arange(13.0), torch.arange(13.0)) + 0.3 * torch.tensor(g.random((169, 2))).float()
    corner = torch.arange(169).view(13, 13)
    a, b, c, d = (v.flatten() for v in (corner[:-1, :-1], corner[1:, :-1], corner[1:, 1:], corner[:-1, 1:]))
    other = torch.tensor(g.random(144) < 0.5)[:, None]
    faces = [torch.where(other, torch.stack(one, 1), torch.stack(two, 1)) for one, two in (((a, b, c), (a, b, d)), ((a, c, d), (b, c, d)))]
    net = net_of(Mesh(torch.cat([x, 0 * x[:, :1]], 1), torch.cat(faces)))
    net.label = g.integers(0, 3, len(net.faces))

    def covered():
        a, b, c = net.place[net.faces].transpose(1, 0, 2)
        return np.bincount(net.label, np.cross(b - a, c - a)[:, 2], minlength=3)

    before, faces = covered(), net.faces.copy()
    assert _flip(net) and not np.array_equal(net.faces, faces)
    np.testing.assert_allclose(covered(), before, rtol=1e-12)


def plane(seed: int) -> Net:
    """Triangles between scattered points, all of one turn."""
    x = np.random.default_rng(seed).random((300, 2))
    faces = Delaunay(x).simplices.astype(np.int64)
    a, b, c = x[faces].transpose(1, 0, 2)
    back = (b - a)[:, 0] * (c - a)[:, 1] < (b - a)[:, 1] * (c - a)[:, 0]
    faces[back] = faces[back][:, ::-1]
    return Net(np.pad(x, ((0, 0), (0, 1))), faces, np.arange(300), np.zeros(len(faces), np.int64))


@pytest.mark.parametrize("seed", range(3))
def test_no_face_turns_over_and_borders_stay_where_edges_vanish(seed):
    net = plane(seed)

    def areas():
        a, b, c = net.place[net.faces].transpose(1, 0, 2)
        return np.cross(b - a, c - a)[:, 2]

    whole, count = areas().sum(), len(net.faces)
    while _collapse(net, 0.1, 0.2):
        assert areas().min() >= 0 and areas().sum() == pytest.approx(whole, rel=1e-12)
    assert len(net.faces) < 0.8 * count


def test_flips_leave_creases_alone():
    """The volume of a box whose faces are badly cut does not change."""
    box = creation.box((1.0, 0.7, 0.4))
    vertices, faces = subdivide_to_size(box.vertices, box.faces, 0.15)
    net = net_of(Mesh(torch.tensor(vertices).float(), torch.tensor(faces)))
    before, start = volume(net.place, net.faces), net.faces.copy()
    while _flip(net):
        assert volume(net.place, net.faces) == pytest.approx(before, rel=1e-6)
    assert not np.array_equal(net.faces, start)


def test_what_is_no_surface_survives():
    """Three faces in one edge, and a lone face with two equal corners."""
    place = np.random.default_rng(0).random((6, 3))
    faces = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4], [5, 5, 2]])
    net = remesh(Net(place, faces, np.arange(6), np.zeros(4, np.int64)), 0.2, 1000)
    assert np.isfinite(net.rows).all() and net.faces.max() < len(net.rows)


# --- large steps ----------------------------------------------------------------------------------------------------


def test_stiff_vertices_solve_their_equation_and_have_its_derivative():
    mesh = ball(80, (0.5, 0.5, 0.5))
    stiff, count = Stiff(mesh.faces, len(mesh.vertices), 7.0), len(mesh.vertices)
    x = mesh.vertices.double()
    torch.testing.assert_close(stiff.vertices(stiff.inverse(x)), x)
    graph = torch.zeros(count, count, dtype=torch.double)
    for k in range(3):
        graph[mesh.faces[:, k], mesh.faces[:, (k + 1) % 3]] = 1
    graph = torch.maximum(graph, graph.T)
    dense = torch.eye(count) + 7.0 * (graph.sum(1).diag() - graph)
    torch.testing.assert_close(stiff.vertices(x), torch.linalg.solve(dense, x))
    assert torch.autograd.gradcheck(stiff.vertices, (x.clone().requires_grad_(),))
    assert Stiff(mesh.faces, count, 0.0).vertices(x) is x


# --- when, and how many ---------------------------------------------------------------------------------------------


def test_triangles_follow_only_between_two_times():
    window = {"remesh_every": 0.1, "remesh_from": 0.3, "remesh_until": 0.6, "edge": Ramp(0.3, 0.05)}
    made, changed = TriangleMesh(torch.Generator().manual_seed(0), **window), []
    seen = made.render(ring(1, size=8))
    for index in range(21):
        before = made.faces
        made.refine(seen, Adam(), Step.make(index, 21, 0))
        if made.faces is not before:
            changed.append(index)
    assert changed == [6, 8, 10, 12]


@pytest.mark.parametrize("faces, wanted", [(20, 20), (79, 20), (80, 80), (1279, 320), (1280, 1280)])
def test_a_ball_has_as_many_faces_as_it_may(faces, wanted):
    assert len(ball(faces, (0.5, 0.5, 0.5)).faces) == wanted
