"""Which face a pixel shows and where surfaces end: the numba kernels against their torch twins, and both against rays and planes."""

from types import ModuleType

import pytest
import torch
from dream3d.renderers._backends import contours_numba, contours_torch, raster_numba, raster_nvdiffrast, raster_torch

from dream3d.cameras import look_at
from dream3d.errors import Mistake
from dream3d.toybox.language import parse
from dream3d.toybox.mesh import truth
from dream3d.toybox.world import build, instance_seed

CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
LENS = torch.tensor([[30.0, 0.0, 16.0], [0.0, 30.0, 12.0], [0.0, 0.0, 1.0]])


def soup(seed: int, views: int, count: int, spread: float = 1.0, size: float = 0.4, depth: float = 3.0):
    """Unjoined triangles around a point in front of the camera; rows of vertices of their own."""
    g = torch.Generator().manual_seed(seed)
    middle = spread * torch.randn(1, count, 1, 3, generator=g) + torch.tensor([0.0, 0.0, depth])
    points = (middle + size * torch.randn(views, count, 3, 3, generator=g)).flatten(1, 2)
    return points, torch.arange(3 * count).view(-1, 3), LENS.repeat(views, 1, 1), 24, 32


def many():
    return soup(0, 2, 300)


def around():
    """The camera in the midst of them: faces in front, behind, and through the near plane."""
    return soup(1, 2, 100, spread=1.0, size=1.0, depth=0.0)


def none():
    return torch.zeros(2, 0, 3), torch.zeros(0, 3, dtype=torch.long), LENS.repeat(2, 1, 1), 5, 7


def behind():
    return soup(2, 1, 20, depth=-9.0)


def fills():
    """One face across the whole picture, two of its corners behind the camera."""
    points = torch.tensor([[[0.0, 50.0, 5.0], [-400.0, -90.0, -3.0], [400.0, -90.0, -3.0]]])
    return points, torch.tensor([[0, 1, 2]]), LENS[None], 24, 32


def degenerate():
    """Faces with a corner twice, on a line, seen from the side, and one that is a face."""
    points = torch.tensor([[[-1.0, -1.0, 3.0], [1.0, -1.0, 3.0], [0.0, 1.0, 3.0], [0.0, -1.0, 3.0], [2.0, 0.0, 4.0], [4.0, 0.0, 8.0]]])
    faces = torch.tensor([[0, 0, 1], [0, 3, 1], [4, 5, 4], [0, 1, 2], [2, 2, 2]])
    return points, faces, LENS[None], 24, 32


def twice():
    """Every face a second time, and a third time flipped."""
    points, faces, lens, height, width = soup(3, 1, 40)
    return points, torch.cat([faces, faces, faces.flip(1)]), lens, height, width


def broken():
    """Points that are not finite, or hardly: their faces are left out."""
    points, faces, lens, height, width = soup(4, 1, 40)
    points[0, 0], points[0, 5], points[0, 9], points[0, 14] = torch.nan, torch.inf, -torch.inf, 1e30
    return points, faces, lens, height, width


def on_centres():
    """A grid whose vertices project onto pixel centres."""
    y, x = torch.meshgrid(torch.arange(12) + 2.5, torch.arange(20) + 3.5, indexing="ij")
    points = 3 * torch.stack([(x - 16) / 30, (y - 12) / 30, torch.ones_like(x)], -1).view(1, -1, 3)
    cell = (torch.arange(11)[:, None] * 20 + torch.arange(19)).flatten()
    faces = torch.cat([torch.stack([cell, cell + 1, cell + 20], 1), torch.stack([cell + 1, cell + 21, cell + 20], 1)])
    return points, faces, LENS[None], 24, 32


def skewed():
    points, faces, _, height, width = soup(5, 1, 60)
    return points, faces, torch.tensor([[[28.0, 3.0, 15.2], [0.0, 33.0, 11.1], [0.0, 0.0, 1.0]]]), height, width


def car(turns=(0.4, 2.0), heights=(0.2, 0.7), size: int = 40):
    """Joined parts that go into one another."""
    mesh = truth(build(parse("a red car"), instance_seed("test", 0)), fine=2)
    cameras = look_at(torch.tensor(turns), torch.tensor(heights), size=size)
    return (mesh.vertices - cameras.centre[:, None]) @ cameras.to_world[:, :3, :3], mesh.faces, cameras.intrinsics, size, size


def small():
    """Many parts within a few pixels: between those of two there may be the end of a third."""
    return car(tuple(0.8 * k for k in range(8)), tuple(0.15 * k - 0.2 for k in range(8)), 12)


CASES = [many, around, none, behind, fills, degenerate, twice, broken, on_centres, skewed, small, car]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_both_see_the_same_faces_and_the_same_ends_to_the_bit(case):
    data = case()
    (seen, weights), (wanted, shares) = raster_numba.rasterize(*data), raster_torch.rasterize(*data)
    assert seen.dtype == torch.long and weights.dtype == torch.float32
    assert torch.equal(seen, wanted) and torch.equal(weights, shares)
    found, expected = (module.find(*data[:3], seen) for module in (contours_numba, contours_torch))
    for name, value in vars(expected).items():
        assert torch.equal(getattr(found, name), value), name


@pytest.mark.parametrize("case", [many, around, fills, degenerate, skewed, car], ids=lambda case: case.__name__)
def test_the_nearest_hit_of_every_ray(case):
    points, faces, lens, height, width = case()
    seen, weights = raster_torch.rasterize(points, faces, lens, height, width)
    y, x = torch.meshgrid(torch.arange(height).double() + 0.5, torch.arange(width).double() + 0.5, indexing="ij")
    for view in range(len(points)):
        rays = (torch.stack([x, y, torch.ones_like(x)], -1) @ torch.linalg.inv(lens[view].double()).mT).view(-1, 1, 3)
        a, b, c = points[view].double()[faces].unbind(1)
        across = torch.linalg.cross(rays, (c - a)[None])  # Moeller and Trumbore's test
        det = (across * (b - a)).sum(-1)
        u = -(across * a).sum(-1) / det
        other = torch.linalg.cross(-a, b - a)
        v, z = (rays * other).sum(-1) / det, ((c - a) * other).sum(-1) / det
        margin = torch.stack([u, v, 1 - u - v]).amin(0)
        z = torch.where((margin >= 0) & (z >= 0.01), z, torch.inf)
        clear = ~((margin.abs() < 1e-9) & det.isfinite() & (det != 0)).any(1)  # no edge runs through the centre
        face = seen[view].flatten()
        nearest, which = z.min(1)
        assert clear.sum() > 0.9 * len(clear)
        assert torch.equal(torch.where(nearest.isfinite(), which, -1)[clear], face[clear])
        met = face >= 0
        there = (weights[view].view(-1, 3)[met].double()[..., None] * points[view].double()[faces[face[met]]]).sum(1)
        assert torch.allclose(there, (nearest[:, None] * rays[:, 0])[met], atol=1e-5, rtol=1e-5)
        assert (weights[view].view(-1, 3)[met] >= 0).all() and weights[view].view(-1, 3)[~met].eq(0).all()


@pytest.mark.parametrize("module", [raster_numba, raster_torch], ids=["numba", "torch"])
def test_nothing_is_seen_before_the_near_plane(module):
    """A sheet parallel to the picture a hair beyond 1 cm and before it; and one that goes through it aslant."""
    sheet, faces = torch.tensor([[[-1.0, -1.0, 1.0], [3.0, -1.0, 1.0], [-1.0, 3.0, 1.0]]]), torch.tensor([[0, 1, 2]])
    for depth, there in ((0.0101, True), (0.0099, False)):
        seen, _ = module.rasterize(sheet * torch.tensor([1.0, 1.0, depth]), faces, LENS[None], 24, 32)
        assert seen.eq(0 if there else -1).all()
    tilted = sheet.clone()
    tilted[..., 2] = 0.01 - 0.05 * sheet[..., 0] - 0.03 * sheet[..., 1]
    seen, weights = module.rasterize(tilted, faces, LENS[None], 24, 32)
    y, x = torch.meshgrid(torch.arange(24) - 11.5, torch.arange(32) - 15.5, indexing="ij")
    depth = 0.01 / (1 + 0.05 * x / 30 + 0.03 * y / 30)
    assert torch.equal(seen[0] >= 0, depth >= 0.01) and 0 < (seen[0] >= 0).sum() < 24 * 32
    assert ((weights * tilted[0, :, 2]).sum(-1) - depth)[seen >= 0].abs().max() < 1e-6


def test_cases_are_what_they_are_for():
    assert (raster_numba.rasterize(*fills())[0] == 0).all() and (raster_numba.rasterize(*behind())[0] == -1).all()
    assert set(raster_numba.rasterize(*degenerate())[0].unique().tolist()) == {-1, 3}
    seen = raster_numba.rasterize(*twice())[0]
    assert not ((seen >= 40) & (seen < 80)).any() and (seen >= 0).any()  # of equals the first
    seen = raster_numba.rasterize(*on_centres())[0][0]
    inner = torch.zeros_like(seen, dtype=torch.bool)
    inner[3:13, 4:22] = True  # the vertices are rounded: on the rim a centre may lie on either side
    assert (seen[inner] >= 0).all() and (seen[2:14, 3:23] >= 0).sum() == (seen >= 0).sum()  # no gap, and nothing outside
    assert not set(raster_numba.rasterize(*broken())[0].unique().tolist()) & {0, 1, 3}
    ends = contours_numba.find(*car()[:3], raster_numba.rasterize(*car())[0])
    assert ends.meets.any() and not ends.meets.all()


@pytest.mark.parametrize("height_width", [(1, 1), (1, 40), (17, 1)])
def test_pictures_of_any_shape(height_width):
    points, faces, lens, _, _ = many()
    seen, _ = raster_numba.rasterize(points, faces, lens, *height_width)
    assert torch.equal(seen, raster_torch.rasterize(points, faces, lens, 24, 40)[0][:, : height_width[0], : height_width[1]])
    found, expected = (module.find(points, faces, lens, seen) for module in (contours_numba, contours_torch))
    assert all(torch.equal(value, getattr(found, name)) for name, value in vars(expected).items())


def test_the_twin_works_in_shares(monkeypatch):
    whole = raster_torch.rasterize(*around())
    monkeypatch.setattr(raster_torch, "CHUNK", 37)
    assert all(torch.equal(a, b) for a, b in zip(whole, raster_torch.rasterize(*around()), strict=True))


def test_any_number_of_threads_gives_the_same_bytes():
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            seen, weights = raster_numba.rasterize(*car())
            results.append((seen, weights, *vars(contours_numba.find(*car()[:3], seen)).values()))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=CUDA)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_the_twin_on_a_device(case, device):
    data = case()
    seen, weights = raster_torch.rasterize(*(v.to(device) if isinstance(v, torch.Tensor) else v for v in data))
    wanted, shares = raster_numba.rasterize(*data)
    assert (seen.cpu() != wanted).float().mean() < 1e-3  # the lens is inverted by another library
    same = seen.cpu() == wanted
    assert (weights.cpu() - shares)[same].abs().max() < 1e-5
    found = contours_torch.find(*(v.to(device) for v in data[:3]), wanted.to(device))
    expected = contours_numba.find(*data[:3], wanted)
    assert abs(len(found.first) - len(expected.first)) <= 0.01 * len(expected.first)


# --- nvdiffrast -------------------------------------------------------------------------------------------------------

NVDIFFRAST = [pytest.mark.gpu, pytest.mark.skipif(bool(raster_nvdiffrast.trouble()), reason="needs CUDA and nvdiffrast")]


def documented(context, clip, faces, resolution, grad_db):
    """nvdiffrast.torch.rasterize as its documentation has it, face by face: OpenGL's clip space, row 0 at the bottom, (u, v, z/w, face + 1)
    of the closest face between the planes z = -w and z = w."""
    assert clip.dtype == torch.float32 and faces.dtype == torch.int32 and clip.shape[2] == 4 and all(side % 8 == 0 for side in resolution)
    height, width = resolution
    y, x = ((torch.arange(side).double() + 0.5) / side * 2 - 1 for side in resolution)
    spot = torch.stack(torch.broadcast_tensors(x[None, :], y[:, None], torch.ones(height, width)), -1).double()
    out, depth = torch.zeros(len(clip), height, width, 4), torch.full((len(clip), height, width), torch.inf).double()
    for view, vertices in enumerate(clip.double()):
        for index, face in enumerate(faces.long()):
            corners = vertices[face]
            plane = corners[:, [0, 1, 3]]
            if plane.det() == 0:
                continue
            weights = spot @ plane.inverse()  # of the corners' (x, y, w)
            inverse = weights.sum(-1)
            weights = weights / inverse[..., None]
            z, w = weights @ corners[:, 2], weights @ corners[:, 3]
            hit = (weights >= 0).all(-1) & (inverse > 0) & (z >= -w) & (z <= w) & (z / w < depth[view])
            depth[view] = torch.where(hit, z / w, depth[view])
            found = torch.stack([weights[..., 0], weights[..., 1], z / w, torch.full_like(z, index + 1)], -1).float()
            out[view] = torch.where(hit[..., None], found, out[view])
    return out, None


@pytest.mark.parametrize("case", [around, none, behind, fills, skewed], ids=lambda case: case.__name__)
def test_nvdiffrast_is_asked_as_its_documentation_wants(case):
    data = case()
    contract = ModuleType("contract")
    contract.rasterize = documented
    seen, weights = raster_nvdiffrast.ask(*data, contract, None)
    wanted, shares = raster_torch.rasterize(*data)
    assert seen.dtype == wanted.dtype and seen.shape == wanted.shape
    assert (seen != wanted).float().mean() < 5e-3 and (weights - shares)[seen == wanted].abs().max() < 1e-4


@pytest.mark.parametrize("case", [pytest.param(case, marks=NVDIFFRAST, id=case.__name__) for case in CASES])
def test_nvdiffrast_sees_what_we_see(case):
    data = [v.cuda() if isinstance(v, torch.Tensor) else v for v in case()]
    seen, weights = raster_nvdiffrast.rasterize(*data)
    wanted, shares = raster_torch.rasterize(*data)
    assert (seen != wanted).float().mean() < 0.02 and (weights - shares)[seen == wanted].abs().max() < 1e-3


def test_nvdiffrast_is_never_taken_silently():
    if raster_nvdiffrast.trouble():
        with pytest.raises(Mistake, match="nvdiffrast backend cannot be used"):
            raster_nvdiffrast.rasterize(*many())
