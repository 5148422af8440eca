"""DMTet: what it starts as, what it learns, that it never opens, vanishes or turns over, and how it goes on finer."""

import numpy as np
import pytest
import torch
from dmtet_scenes import BALL, boxed, closed, inside, iou, scene, step, volume
from dream3d.renderers._surface import draw
from dream3d.renderers._tets import lattice, march, volumes
from dream3d.renderers.dmtet import SHAPE, DMTet

from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.export.views import sphere as around
from dream3d.optim import Adam
from dream3d.penalties import Penalties
from dream3d.schedule import Ramp
from dream3d.types import Cameras, Render, Step

# --- what it starts as ----------------------------------------------------------------------------------------------


def test_at_first_a_grey_ball():
    made = scene(resolution=24)
    mesh = made.handover()
    assert volume(mesh) == pytest.approx(BALL, rel=0.01) and closed(mesh)
    assert len(mesh.vertices) - len(mesh.faces) // 2 == 2  # Euler's characteristic, three half edges a face
    assert mesh.rgb.eq(0.5).all() and "165888 tetrahedra" in made.about
    with torch.no_grad():
        render = made.render(ring(4, size=48))
    covered = render.alpha[..., 0] > 0.999
    normal = (render.normal / render.alpha)[covered]
    assert (normal.norm(dim=-1) - 1).abs().max() < 1e-4
    origin, direction = ring(4, size=48).rays()
    places = (origin + direction * render.depth)[covered]
    assert ((normal * places).sum(-1) > 0).all()  # outwards
    away = torch.linalg.cross(normal, places / places.norm(dim=-1, keepdim=True)).norm(dim=-1)
    assert away.mean() < 0.03 and (places.norm(dim=-1) - 0.5).abs().mean() < 0.005


def test_or_an_ellipsoid():
    mesh = scene(resolution=24, radii=(0.6, 0.3, 0.4)).handover()
    assert volume(mesh) == pytest.approx(BALL * 0.6 * 0.3 * 0.4 / 0.5**3, rel=0.02)
    torch.testing.assert_close(mesh.vertices.amax(0), torch.tensor([0.6, 0.3, 0.4]), atol=0.01, rtol=0)


def test_a_start_outside_of_the_grid_is_a_mistake(tmp_path):
    grid = lattice(0.1, 3)
    np.savez(tmp_path / "away.npz", vertices=grid.points.numpy() + 0.7, tets=grid.cells.numpy())
    with pytest.raises(Mistake, match="smaller than a cell of the tetrahedral grid, or outside of it"):
        scene(grid=str(tmp_path / "away.npz"))


# --- what cannot happen ---------------------------------------------------------------------------------------------


def test_no_offset_turns_a_cell_over_and_nothing_opens_the_surface():
    made, rng = scene(), torch.Generator().manual_seed(1)
    for size in (0.01, 1.0, 100.0):
        made.offset.data = size * torch.randn(made.offset.shape, generator=rng)
        made.distance.data = torch.randn(made.distance.shape, generator=rng)
        places = made.places().detach()
        assert (volumes(places, made.cells) > 0).all()
        assert ((places - made.points).norm(dim=-1) <= 0.4501 * made.width).all()
        assert closed(made.handover())
    made.distance.data.fill_(-1.0)
    mesh = made.handover()
    assert closed(mesh) and volume(mesh) == pytest.approx(1.6**3, rel=0.1)  # all that the grid can hold


def test_a_surface_that_vanishes_comes_back():
    made, optimizer = scene(), Adam()
    before = {k: v.clone() for k, v in made.state().items()}
    for index in range(3):
        render = made.render(ring(2, size=16), step(index))
        render.alpha.sum().backward()
        assert optimizer.step(made.groups(step(index)))
        if index == 1:
            kept = before["distance"]
            made.distance.data.fill_(0.1)
        made.refine(render, optimizer, step(index))
        if index == 0:
            before = {k: v.clone() for k, v in made.state().items()}
        if index == 1:
            assert torch.equal(made.distance, before["distance"]) and not torch.equal(made.offset, before["offset"])
            assert optimizer.moments["distance"][0].eq(0).all() and "1 times from vanishing" in made.about
    assert len(made.surface().faces) > 100 and not torch.equal(made.distance, kept)


def test_far_distances_are_cut_off_and_the_surface_stays():
    made = scene()
    made.distance.data = 3 * made.distance.data + 0.02 * torch.randn(len(made.points), generator=torch.Generator().manual_seed(0))
    before = made.surface()
    with torch.no_grad():
        made._cut_off()
    after = made.surface()
    assert torch.equal(before.vertices, after.vertices) and torch.equal(before.faces, after.faces)
    assert (made.distance.detach().abs() > 0.99 * 2 * made.width).sum() > 1000


# --- learning -------------------------------------------------------------------------------------------------------


def fit(made: DMTet, cameras: Cameras, loss, steps: int, penalties: dict | None = None, optimizer: Adam | None = None) -> None:
    optimizer, more = optimizer or Adam(), Penalties({name: Ramp(w) for name, w in (penalties or {}).items()})
    for index in range(steps):
        now = step(index, steps)
        pick = torch.randperm(len(cameras), generator=now.rng)[:4]
        render = made.render(cameras.at(pick), now)
        (loss(render, pick) + (more(made, render, now) or 0)).backward()
        assert optimizer.step(made.groups(now))
        made.refine(render, optimizer, now)


def test_a_ball_becomes_a_cube_by_pictures_of_normals():
    """Fantasia3D's first stage on a known solid: normals and mask, no colour; half way through the cells around the surface are divided."""
    target, cameras = boxed((0.4, 0.4, 0.4)), around(24, radius=1.2, size=48)
    with torch.no_grad():
        wanted = draw(target.vertices, target.faces, cameras, lambda hits: (0 * hits.normal, None), smooth=False)

    def loss(render, pick):
        gaps = (render.normal - wanted.normal[pick]).square().sum() + (render.alpha - wanted.alpha[pick]).square().sum()
        return gaps / len(pick)

    made = scene(resolution=8, train="geometry", smooth=False, subdivide=(0.5,), lr_distance=Ramp(2e-2, 1e-3, shape="exp"))
    fit(made, cameras, loss, 80, {"normal_consistency": 0.02})
    solid, points = inside(made)
    assert iou(solid, points.abs().amax(-1) < 0.4) > 0.9 and closed(made.handover())
    mesh = made.handover()
    assert volume(mesh) == pytest.approx(0.8**3, rel=0.05)


def test_what_is_trained_is_what_moves():
    cameras = ring(2, size=24)
    for train, moving in (("all", {*SHAPE, "colour"}), ("geometry", {*SHAPE}), ("colour", {"colour"})):
        made, optimizer = scene(train=train), Adam()
        before = {name: getattr(made, name).detach().clone() for name in made.names}
        render = made.render(cameras, step())
        weights = torch.rand(render.rgb.shape, generator=step().rng)
        (render.rgb * weights).sum().backward()
        assert {group.name for group in made.groups(step())} == moving
        optimizer.step(made.groups(step()))
        assert {name for name in before if not torch.equal(before[name], getattr(made, name))} == moving


def test_gradients_of_a_picture_follow_its_differences():
    """The whole chain, distances, offsets and colours to pixels: a step of 1e-3 in a random direction, float64, a blurred picture."""
    made = scene(resolution=6, backend="torch", smooth=False).double()
    rng = torch.Generator().manual_seed(4)
    made.colour.data = torch.rand(made.colour.shape, generator=rng, dtype=torch.float64)
    cameras = ring(3, size=64)
    cameras = Cameras(**{k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in vars(cameras).items()})
    x = torch.linspace(-1, 1, 64, dtype=torch.float64)
    soft = torch.cos(2 * x)[:, None] * torch.sin(1.5 * x + 0.3) + 1.0

    def value():
        return (made.render(cameras).rgb * soft[None, :, :, None]).mean()

    names = made.names
    value().backward()
    for name in names:
        tensor = getattr(made, name)
        way, start = tensor.grad / tensor.grad.norm(), tensor.detach().clone()
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                tensor.copy_(start + sign * 2e-3 * way)
                ends.append(value().item())
            tensor.copy_(start)
        assert (ends[0] - ends[1]) / 4e-3 == pytest.approx(tensor.grad.norm().item(), rel=0.1), name


LOOKS = [{"appearance": "field"}, {"shading": "pbr"}, {"features": 4}, {"shading": {"lambert": 0.5, "textureless": 0.5}}]


@pytest.mark.parametrize("settings", LOOKS)
def test_other_appearances_learn_continue_and_hand_over(settings):
    made, cameras = scene(resolution=8, texture=64, **settings), ring(2, size=24)
    optimizer = Adam()
    for index in range(2):
        render = made.render(cameras, step(index))
        buffer = render.rgb if render.features is None else render.features
        (buffer * torch.rand(buffer.shape, generator=step(index).rng)).sum().backward()
        assert optimizer.step(made.groups(step(index)))
        made.refine(render, optimizer, step(index))
    other = scene(resolution=8, texture=64, **settings)
    other.restore(made.state())
    with torch.no_grad():
        assert torch.equal(other.render(cameras).rgb, made.render(cameras).rgb)
    mesh = made.handover()
    assert (mesh.rgb is None) == (mesh.texture is not None) and closed(mesh)


# --- finer, and again -----------------------------------------------------------------------------------------------


def pulled(made: DMTet, optimizer: Adam, now: Step) -> Render:
    render = made.render(ring(3, size=24), now)
    (render.rgb * torch.rand(render.rgb.shape, generator=now.rng)).sum().backward()
    assert optimizer.step(made.groups(now))
    return render


def test_finer_cells_show_the_same_picture_and_moments_go_on():
    made, optimizer = scene(), Adam()
    for index in range(4):
        made.refine(pulled(made, optimizer, step(index)), optimizer, step(index))
    cameras, old = ring(3, size=48), {name: [m.clone() for m in optimizer.moments[name]] for name in made.names}
    with torch.no_grad():
        before, count, mesh = made.render(cameras), len(made.points), made.handover()
        values = {name: getattr(made, name).clone() for name in made.names}
        made._subdivide(optimizer)
        after = made.render(cameras)
    assert len(made.points) > 2 * count and (volumes(made.points, made.cells) > 0).all()
    for name in ("rgb", "alpha", "depth"):
        assert (getattr(after, name) - getattr(before, name)).abs().mean() < 1e-4
    assert volume(made.handover()) == pytest.approx(volume(mesh), rel=1e-5)
    near = (made.distance[:count].detach().abs() < made.width[:count]).nonzero()[:, 0]
    torch.testing.assert_close(made.distance[near], values["distance"][near])
    assert torch.equal(made.colour[:count], values["colour"]) and made.offset.eq(0).all()
    for name in made.names:
        for new, was in zip(optimizer.moments[name], old[name], strict=True):
            assert len(new) == len(made.points) and torch.equal(new[:count], was)
        assert optimizer.moments[name][0][count:].abs().sum() > 0
    made.refine(pulled(made, optimizer, step(5)), optimizer, step(5))
    assert closed(made.handover())


def test_no_more_cells_than_allowed():
    made = scene(resolution=8, subdivide=(0.0, 0.5), max_cells=50000)
    made.refine(made.render(ring(1, size=8)), Adam(), step(1))
    assert 6144 < len(made.cells) <= 50000
    cells = len(made.cells)
    made.refine(made.render(ring(1, size=8)), Adam(), step(50))
    assert len(made.cells) == cells


def test_a_run_continues_bit_for_bit_across_a_subdivision():
    def go(made, optimizer, indices):
        for index in indices:
            made.refine(pulled(made, optimizer, step(index, 10)), optimizer, step(index, 10))

    for stop in (2, 5):
        whole, first = (scene(resolution=8, subdivide=(0.3, 0.6)) for _ in range(2))
        a, b = Adam(), Adam()
        go(whole, a, range(8))
        go(first, b, range(stop))
        saved, moments = {k: v.clone() for k, v in first.state().items()}, b.state()
        assert saved["cells"].dtype == torch.int32
        second, c = scene(resolution=8, subdivide=(0.3, 0.6)), Adam()
        second.restore(saved)
        c.restore(moments)
        go(second, c, range(stop, 8))
        assert all(torch.equal(v, second.state()[k]) for k, v in whole.state().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_step_on_a_gpu_is_a_step_on_the_cpu():
    """The torch backend on both: pictures within 1e-3 of each other but for pixels on edges, and a subdivision on the way."""
    made = [scene(resolution=10, backend="torch").to(device) for device in ("cpu", "cuda")]
    pictures, optimizers = [], [Adam(), Adam()]
    for one, optimizer in zip(made, optimizers, strict=True):
        cameras = ring(2, size=32).to(one.points.device)
        render = one.render(cameras, step())
        render.rgb.square().sum().backward()
        assert optimizer.step(one.groups(step()))
        one.refine(render, optimizer, step())
        with torch.no_grad():
            one._subdivide(optimizer)
            pictures.append(one.render(cameras).rgb.cpu())
    assert len(made[0].cells) == len(made[1].cells)
    assert ((pictures[0] - pictures[1]).abs() > 1e-3).float().mean() < 0.01
    made[1].init_from(boxed((0.3, 0.4, 0.5)))
    assert volume(made[1].handover()) == pytest.approx(8 * 0.3 * 0.4 * 0.5, rel=0.1)


def test_marching_is_what_is_drawn():
    made = scene()
    cut = march(made.grid, made.places(), made.signed())
    render = made.render(ring(1, size=16))
    assert torch.equal(render.extras["vertices"], cut.vertices) and torch.equal(render.extras["faces"], cut.faces)
    crossing = render.extras["crossing"]
    assert len(crossing) == len(cut.vertices) and (crossing.prod(-1) < 0).all()
