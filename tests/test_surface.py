"""Meshes drawn: hits, every buffer, hostile meshes, and derivatives of whole pictures against a supersampled one."""

import math

import pytest
import torch
from dream3d.renderers import _contours
from dream3d.renderers._backends import raster_numba
from dream3d.renderers._contours import gather
from dream3d.renderers._surface import draw
from torch import Tensor

from dream3d.cameras import look_at, ring
from dream3d.errors import Mistake
from dream3d.toybox.language import parse
from dream3d.toybox.mesh import truth
from dream3d.toybox.render import render
from dream3d.toybox.shapes import BOX, ELLIPSOID, TORUS, surface
from dream3d.toybox.world import build, instance_seed

QUAD = torch.tensor([[0, 1, 2], [0, 2, 3]])


def square(side: float = 1.0, y: float = 0.0, x: float = 0.0):
    """Upright, facing -y, where a camera at azimuth 0 is."""
    corners = torch.tensor([[-0.5, 0.0, -0.5], [0.5, 0.0, -0.5], [0.5, 0.0, 0.5], [-0.5, 0.0, 0.5]])
    return side * corners + torch.tensor([x, y, 0.0]), QUAD


def front(size: int = 32, **more):
    return look_at(torch.zeros(1), torch.zeros(1), size=size, **more)


def white(hits):
    return torch.ones_like(hits.position), None


def painted(rgb: Tensor, faces: Tensor):
    return lambda hits: ((hits.weights[..., None] * rgb[faces[hits.face]]).sum(1), None)


def join(*shapes):
    first = torch.tensor([0] + [len(vertices) for vertices, _ in shapes[:-1]]).cumsum(0)
    return torch.cat([v for v, _ in shapes]), torch.cat([f + n for (_, f), n in zip(shapes, first, strict=True)])


def shape(kind: int, form: tuple, fine: int, at=(0.0, 0.0, 0.0)):
    vertices, faces = surface(kind, form, fine)
    return 0.45 * torch.from_numpy(vertices).float() + torch.tensor(at), torch.from_numpy(faces).long()


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * math.log10((a - b).square().mean())


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_a_square_where_geometry_says():
    camera = front(64)
    vertices, faces = square(1.0, y=0.3)
    picture = draw(vertices, faces, camera, white, smooth=False)
    side = 1.0 * camera.intrinsics[0, 0, 0] / 3.3  # pixels
    assert picture.alpha.sum().item() == pytest.approx(float(side**2), rel=0.01)
    inside = picture.alpha > 0.999
    assert (picture.depth[inside] - 3.3).abs().max() < 1e-5
    normal = picture.normal[inside[..., 0]]
    assert (normal - torch.tensor([0.0, -1.0, 0.0])).abs().max() < 1e-5
    assert torch.equal(picture.rgb, picture.alpha.expand_as(picture.rgb))  # premultiplied over black


def test_both_sides_are_drawn_and_normals_are_those_of_the_side_that_is_seen():
    vertices, faces = square()
    for smooth in (False, True):
        pictures = [draw(vertices, f, front(), white, smooth=smooth) for f in (faces, faces.flip(1))]
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*(p.buffers().values() for p in pictures), strict=True))
        assert (pictures[0].normal[..., 1] <= 0).all() and (pictures[0].normal[..., 1] < -0.9).any()


def test_hits_lie_on_their_rays_and_on_the_surface():
    vertices, faces = shape(ELLIPSOID, (-1.0, 1.0, 0.0, 0.0), 40)
    cameras = ring(2, size=24)
    kept = []

    def keep(hits):
        kept.append(hits)
        return white(hits)

    for smooth in (True, False):
        draw(vertices, faces, cameras, keep, smooth=smooth)
        hits = kept.pop()
        on = (hits.weights[..., None] * vertices[faces[hits.face]]).sum(1)
        assert (hits.weights.sum(1) - 1).abs().max() < 1e-5 and (on - hits.position).abs().max() < 1e-5
        assert (hits.position.norm(dim=1) - 0.45).abs().max() < 1e-3
        wanted = torch.nn.functional.normalize(cameras.centre[hits.view] - hits.position, dim=1)
        assert (hits.towards - wanted).abs().max() < 1e-5
        assert (hits.normal.norm(dim=1) - 1).abs().max() < 1e-5
        assert ((hits.normal * hits.position).sum(1) / 0.45 > (0.9995 if smooth else 0.995)).all()
        assert hits.index.diff().gt(0).all() and (hits.index // 26**2 == hits.view).all()


def test_the_picture_is_the_toybox_picture():
    soup, cameras = build(parse("a red car"), instance_seed("test", 0)), ring(3, size=64)
    mesh = truth(soup, fine=12)
    exact = render([soup], cameras, buffers=("alpha", "depth", "albedo", "normal"), supersample=8)
    drawn = draw(mesh.vertices, mesh.faces, cameras, painted(mesh.rgb, mesh.faces), smooth=False)
    hard = (drawn.alpha > 0.5).float()
    assert psnr(drawn.alpha, exact.alpha) > 39 > 29 > psnr(hard, exact.alpha)
    assert psnr(drawn.rgb, exact.extras["albedo"]) > 33
    assert psnr(drawn.depth, exact.depth) > 30 and psnr(drawn.normal, exact.normal) > 25


def test_labels_features_and_extras():
    vertices, faces = join(square(0.8, x=-0.5), square(0.8, y=-0.5, x=0.3))
    label = torch.tensor([1, 1, 0, 0])
    picture = draw(vertices, faces, front(), lambda hits: (hits.position * 0, torch.ones(len(hits.face), 5)), label=label, labels=2)
    assert picture.labels.shape[-1] == 3 and torch.allclose(picture.labels.sum(-1), torch.ones(1, 32, 32), atol=1e-6)
    assert torch.allclose(picture.labels[..., 2:], 1 - picture.alpha) and (picture.labels >= 0).all()
    assert picture.labels[0, 16, 20].tolist() == [1, 0, 0] and picture.labels[0, 16, 6].tolist() == [0, 1, 0]
    assert picture.features.shape[-1] == 5 and torch.allclose(picture.features, picture.alpha.expand(-1, -1, -1, 5))
    assert picture.extras["vertices"] is vertices and picture.extras["faces"] is faces


def test_a_square_that_moves_covers_as_much_as_it_does():
    """Across whole pixels and any fraction: coverage of every pixel, not only their sum."""
    camera = front(32)
    focal, vertices = camera.intrinsics[0, 0, 0] / 3, square(0.4)[0]
    for part in torch.linspace(0, 1, 7):
        alpha = draw(vertices + torch.tensor([part / focal, 0.0, 0.0]), QUAD, camera, white).alpha[0, 16, :, 0]
        left, right = 16 - 0.2 * focal + part, 16 + 0.2 * focal + part
        x = torch.arange(32)
        wanted = (torch.minimum(x + 1, right) - torch.maximum(x, left)).clamp(0, 1)
        assert (alpha - wanted).abs().max() < 1e-4


@pytest.mark.parametrize("side", [0.01, 0.05, 0.1, 0.2])
def test_what_is_as_small_as_a_pixel_never_leaves_the_range(side):
    camera = front(16)
    for x in torch.linspace(0, 0.14, 8):
        vertices, faces = square(side, x=float(x))
        picture = draw(vertices + 0.013, faces, camera, white)
        assert picture.alpha.min() >= 0 and picture.alpha.max() <= 1


# --- hostile meshes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_nothing_to_see_is_an_empty_picture(backend):
    vertices, faces = square()
    nowhere = [(vertices[:0], faces[:0]), (vertices, faces[:0]), (vertices + torch.tensor([0.0, -9.0, 0.0]), faces),
               (vertices, torch.tensor([[0, 0, 1], [2, 2, 2]]))]  # fmt: skip
    for points, triangles in nowhere:
        points = points.clone().requires_grad_()
        label = torch.zeros(len(triangles), dtype=torch.long)
        cameras = look_at(torch.zeros(2), torch.zeros(2), size=8)
        shade = lambda hits: (hits.position, hits.normal[:, :2])  # noqa: E731
        picture = draw(points, triangles, cameras, shade, label=label, labels=1, backend=backend)
        assert all(picture.buffers()[name].eq(0).all() for name in ("rgb", "alpha", "depth", "normal", "features"))
        assert torch.equal(picture.labels[..., 1:], torch.ones_like(picture.alpha))
        (picture.rgb.sum() + picture.alpha.sum()).backward()
        assert points.grad is None or points.grad.eq(0).all()


def test_inside_an_object_and_through_the_near_plane():
    vertices, faces = shape(ELLIPSOID, (-1.0, 1.0, 0.0, 0.0), 12)
    points = (4 / 0.45 * vertices).requires_grad_()
    picture = draw(points, faces, ring(2, size=16), white)
    assert (picture.alpha - 1).abs().max() < 1e-6 and (picture.depth > 0.8).all()
    picture.depth.sum().backward()
    assert points.grad.isfinite().all() and points.grad.ne(0).any()
    sheet = torch.tensor([[-9.0, -9.0, -0.4], [9.0, -9.0, -0.4], [0.0, 20.0, -0.4]], requires_grad=True)  # a floor under the camera
    picture = draw(sheet, torch.tensor([[0, 1, 2]]), front(32), white)
    assert picture.alpha[0, -1].min() > 0.99 and picture.alpha[0, 0].max() == 0
    picture.alpha.sum().backward()
    assert sheet.grad.isfinite().all() and sheet.grad.ne(0).any()


def test_slivers_and_tiny_faces_have_finite_pictures_and_derivatives():
    g = torch.Generator().manual_seed(0)
    middle = 0.6 * torch.randn(4000, 1, 3, generator=g)
    thin = torch.cat([1e-6 * torch.randn(3000, 3, 3, generator=g), 0.02 * torch.randn(1000, 3, 3, generator=g)])
    way = torch.randn(4000, 1, 3, generator=g)
    points = (middle + thin + way * torch.tensor([[0.0], [0.7], [1.0]])).flatten(0, 1).requires_grad_()
    picture = draw(points, torch.arange(12000).view(-1, 3), ring(2, size=48), lambda hits: (hits.position.sigmoid(), hits.normal))
    assert picture.alpha.gt(0.5).sum() > 1000 and all(buffer.isfinite().all() for buffer in picture.buffers().values())
    assert picture.rgb.min() >= 0 and picture.rgb.max() <= 1 and picture.depth.max() < 9
    sum(buffer.sum() for buffer in picture.buffers().values()).backward()
    assert points.grad.isfinite().all() and points.grad.ne(0).any()


def test_parts_in_one_plane_do_not_tear_at_their_vertices(monkeypatch):
    """Two sheets that differ by a hair: which is seen where is chance, and says nothing about where they should be."""
    tilt = torch.tensor([[1.0, 0.0, 0.0], [1e-6, 1.0, 1e-6], [0.0, 0.0, 1.0]])
    vertices, faces = join(square(1.2), square(1.1))
    points = torch.cat([vertices[:4], vertices[4:] @ tilt.T + torch.tensor([0.013, 0.0, 0.017])]).requires_grad_()
    pulls = []
    for angle in (_contours.TILT, 0.0):
        monkeypatch.setattr(_contours, "TILT", angle)
        picture = draw(points, faces, front(64), lambda hits: ((hits.face[:, None] < 2).float().expand(-1, 3), None))
        assert picture.rgb[..., 0].mean() > 0.1 and (picture.alpha - picture.rgb[..., :1]).mean() > 0.05  # both are seen
        pulls.append(torch.autograd.grad(picture.rgb.square().sum(), points)[0][:, 1].abs().max())
    assert pulls[0] < 1000 < 100 * pulls[0] < pulls[1]


def test_mistakes():
    vertices, faces = square()
    bad = vertices.clone()
    bad[2, 1] = torch.nan
    with pytest.raises(Mistake, match="1 of 4 vertices are not finite"):
        draw(bad, faces, front(), white)
    for wrong in (faces + 1, faces - 1):
        with pytest.raises(Mistake, match="there are 4"):
            draw(vertices, wrong, front(), white)
    with pytest.raises(Mistake, match="label per face"):
        draw(vertices, faces, front(), white, labels=2)
    with pytest.raises(Mistake, match="no mesh backend"):
        draw(vertices, faces, front(), white, backend="numb")
    with pytest.raises(Mistake, match="float32"):
        double = look_at(torch.zeros(1).double(), torch.zeros(1).double(), size=8)
        draw(vertices.double(), faces, double, white, backend="numba")


# --- derivatives ------------------------------------------------------------------------------------------------------


def test_both_backends_give_the_same_picture_and_derivatives():
    mesh, cameras = truth(build(parse("a red car"), instance_seed("test", 0)), fine=4), ring(2, size=32)
    results = []
    for backend in ("numba", "torch"):
        points = mesh.vertices.clone().requires_grad_()
        picture = draw(points, mesh.faces, cameras, painted(mesh.rgb, mesh.faces), backend=backend)
        g = torch.Generator().manual_seed(0)
        loss = sum((buffer * torch.randn(buffer.shape, generator=g)).sum() for buffer in picture.buffers().values())
        results.append([*picture.buffers().values(), torch.autograd.grad(loss, points)[0]])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("smooth", [True, False])
def test_a_repeated_step_is_bit_equal(smooth):
    vertices, faces = shape(ELLIPSOID, (-1.0, 1.0, 0.0, 0.0), 6)
    cameras, results = ring(4, size=96), []
    colour = torch.rand(len(vertices), 3, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        points, rgb = vertices.clone().requires_grad_(), colour.clone().requires_grad_()
        mixed = lambda hits, rgb=rgb: ((hits.weights[..., None] * gather(rgb, faces[hits.face])).sum(1), None)  # noqa: E731
        picture = draw(points, faces, cameras, mixed, smooth=smooth)
        loss = sum(buffer.square().sum() for buffer in picture.buffers().values())
        results.append([picture.rgb, *torch.autograd.grad(loss, (points, rgb))])
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_hits_have_the_derivatives_of_rays_that_stand_still():
    vertices, faces = shape(ELLIPSOID, (-1.0, 1.0, 0.0, 0.0), 3)
    camera = look_at(torch.tensor([0.4]).double(), torch.tensor([0.3]).double(), size=6)
    wave = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).double()

    def inside(points, smooth):
        kept = []
        draw(points, faces, camera, lambda hits: (kept.append(hits) or hits.position, None), smooth=smooth)
        hits = kept[0]
        return sum((value @ wave[: value.shape[1]]).sin().sum(0) for value in (hits.weights, hits.position, hits.normal))

    for smooth in (True, False):
        assert torch.autograd.gradcheck(lambda p, smooth=smooth: inside(p, smooth), vertices.double().requires_grad_(), fast_mode=True)


SIZE, FINE, STEP = 64, 12, 0.012  # pixels; samples a side of each; metres, about a third of a pixel


def cases():
    car = truth(build(parse("a red car"), instance_seed("test", 0)), fine=4)
    ball = (-1.0, 1.0, 0.0, 0.0)
    return {
        "box": shape(BOX, (1.0, 1.0, 0.0, 0.0), 1),
        "torus": shape(TORUS, (0.35, 0.0, 0.0, 0.0), 16),
        "one before the other": join(shape(ELLIPSOID, ball, 20, (-0.2, -0.5, 0.0)), shape(ELLIPSOID, ball, 20, (0.2, 0.4, 0.1))),
        "one in the other": join(shape(ELLIPSOID, ball, 20, (-0.2, -0.1, 0.0)), shape(ELLIPSOID, ball, 20, (0.2, 0.1, 0.1))),
        "out of the picture": shape(ELLIPSOID, ball, 20, (0.9, 0.0, 0.9)),
        "car": (car.vertices, car.faces, car.rgb),
    }


def motions():
    spin = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    return [lambda v, s: v + s * torch.tensor([1.0, 0.0, 0.0]), lambda v, s: v + s * torch.tensor([0.0, 0.6, 0.8]),
            lambda v, s: v @ torch.linalg.matrix_exp(2 * s * spin).T, lambda v, s: v * (1 + 2 * s)]  # fmt: skip


def supersampled(vertices, faces, rgb, cameras) -> Tensor:
    """rgb and alpha: FINE x FINE rays a pixel, nothing else."""
    fine, out = cameras.sized(SIZE * FINE, SIZE * FINE), []
    for row in range(len(cameras)):
        view = fine.at(torch.tensor([row]))
        points = (vertices - view.centre[:, None]) @ view.to_world[:, :3, :3]
        seen, weights = raster_numba.rasterize(points, faces, view.intrinsics, view.height, view.width)
        hit = seen >= 0
        picture = torch.zeros(*seen.shape, 4)
        colour = (weights[hit][..., None] * rgb[faces[seen[hit]]]).sum(1)
        picture[hit] = torch.cat([colour, torch.ones(len(colour), 1)], 1)
        out.append(picture.view(SIZE, FINE, SIZE, FINE, 4).mean((1, 3)))
    return torch.stack(out)


def waves() -> Tensor:
    """Smooth weights over the picture: a constant and five directions."""
    y, x = torch.meshgrid(torch.arange(SIZE) + 0.5, torch.arange(SIZE) + 0.5, indexing="ij")
    way = 2 * math.pi / 40 * torch.randn(5, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    return torch.cat([torch.ones(1, SIZE, SIZE), (way[:, 0] * x + way[:, 1] * y + torch.arange(5.0).view(-1, 1, 1)).sin()])


def slopes(vertices, faces, rgb, cameras) -> tuple[Tensor, Tensor]:
    """(found, expected) derivatives along every motion of the sums over all views, weighted by every wave; (motion, wave, 4)."""
    found, expected = [], []
    total = lambda picture: torch.einsum("bhwc,khw->kc", picture, waves())  # noqa: E731
    for move in motions():
        ahead, back = (supersampled(move(vertices, s), faces, rgb, cameras) for s in (STEP, -STEP))
        expected.append(total((ahead - back) / (2 * STEP)))
        s = torch.zeros((), requires_grad=True)
        drawn = draw(move(vertices, s), faces, cameras, painted(rgb, faces))
        sums = total(torch.cat([drawn.rgb, drawn.alpha], -1))
        along = torch.zeros_like(sums, requires_grad=True)
        pulled = torch.autograd.grad(sums, s, along, create_graph=True)[0]
        found.append(torch.autograd.grad(pulled, along)[0])  # forward mode by two backward ones
    return torch.stack(found), torch.stack(expected)


@pytest.mark.parametrize("name", list(cases()))
def test_derivatives_of_pictures_are_those_of_a_supersampled_one(name):
    """What an optimiser sees: sums over a batch of views. In a single one a row of pixels more or less counts: 1 to 5 % of a mask's."""
    vertices, faces, *rgb = cases()[name]
    rgb = rgb[0] if rgb else 0.5 + 0.4 * (2.5 * vertices + torch.arange(3.0)).sin()
    if name.startswith("one"):
        rgb = torch.where(torch.arange(len(rgb))[:, None] < len(rgb) // 2, torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.5, 0.9]))
    cameras = look_at(torch.tensor([0.3, 2.0, -1.2, -2.6]), torch.tensor([0.35, 0.6, 0.1, 0.9]), size=SIZE)
    found, expected = slopes(vertices, faces, rgb, cameras)
    mask, colour = (((found - expected)[..., k].norm() / expected[..., k].norm()).item() for k in (slice(3, 4), slice(0, 3)))
    print(f"{name}: mask {100 * mask:.2f} %, colour {100 * colour:.2f} %")
    assert mask < 0.02 and colour < 0.1


def test_without_ends_of_surfaces_the_mask_would_not_move(monkeypatch):
    vertices, faces, _ = cases()["car"]
    points = vertices.clone().requires_grad_()
    assert torch.autograd.grad(draw(points, faces, front(), white).alpha.sum(), points)[0].ne(0).any()
    monkeypatch.setattr(_contours, "blend", lambda values, *_: values)
    assert torch.autograd.grad(draw(points, faces, front(), white).alpha.sum(), points)[0].eq(0).all()
