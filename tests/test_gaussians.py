"""The Gaussian representation: projection, harmonics, buffers, surgery, state, handing over, and a fit to a known
object."""

import math

import numpy as np
import pytest
import torch
from dream3d.renderers._backends.project import harmonics, matrix, project
from dream3d.renderers._backends.seeds import from_field, from_mesh, spacing
from dream3d.renderers._backends.surgery import divide
from dream3d.renderers.gaussians import NAMES, Gaussians
from scipy.spatial.transform import Rotation
from scipy.special import sph_harm_y

from dream3d.cameras import look_at, ring
from dream3d.errors import Mistake
from dream3d.optim import Adam
from dream3d.schedule import Ramp
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step


def step(index: int = 0, total: int = 100) -> Step:
    return Step.make(index, total, 3)


def scene(count: int = 200, **settings) -> Gaussians:
    return Gaussians(torch.Generator().manual_seed(0), count=count, **settings)


def varied(count: int = 200, *, seed: int = 0, label: bool = False, **settings) -> Gaussians:
    """Every parameter away from its special starting value."""
    made, g = scene(count, **settings), torch.Generator().manual_seed(seed)
    for name in ("log_scale", "rotation", "logit", "colour", "harmonics"):
        value = getattr(made, name).data
        value += (0.1 if name in ("colour", "harmonics") else 0.5) * torch.randn(value.shape, generator=g)
    if label:
        made.label = torch.arange(count) % 3
        made.objects.fill_(3)
    return made


def cotangents(render: Render) -> dict:
    g = torch.Generator().manual_seed(5)
    return {name: torch.randn(b.shape, generator=g, dtype=torch.float64).to(b) for name, b in render.buffers().items()}


# --- projection and colour ------------------------------------------------------------------------------------------


def test_projection_is_the_pinhole_and_its_jacobian():
    """Means by the pinhole model; covariances as J W S W^T J^T + 0.3 with J from autograd of the pinhole."""
    made, cameras = varied(30).double(), _double(ring(2, size=40))
    axes = matrix(made.rotation) * made.log_scale.exp()[:, None]
    splats = project(made.position, axes, made.logit.sigmoid(), cameras)
    for view in range(2):
        turn, shift = cameras.to_camera[view, :3, :3], cameras.to_camera[view, :3, 3]
        k = cameras.intrinsics[view]

        def pinhole(p, turn=turn, shift=shift, k=k):
            q = k @ (turn @ p + shift)
            return q[:2] / q[2]

        for n in range(30):
            j = torch.autograd.functional.jacobian(pinhole, made.position[n].detach())
            covariance = j @ axes[n] @ axes[n].T @ j.T + 0.3 * torch.eye(2)
            a, b, c = splats.conics[view, n]
            torch.testing.assert_close(torch.linalg.inv(covariance), torch.stack([a, b, b, c]).view(2, 2))
            torch.testing.assert_close(splats.means2d[view, n], pinhole(made.position[n]))


def test_far_outside_the_picture_the_jacobian_is_that_of_its_margin():
    """A ball of 0.1 m, 3 m ahead and at 3 times the field of view: u = f s / z (1, 0, -1.3 tan), v = f s / z (0, 1, 0)."""
    cameras = look_at(torch.zeros(1), torch.zeros(1), 3.0, math.pi / 2, size=40)  # f = 20, tan = 1
    splats = project(torch.tensor([[9.0, 0.0, 0.0]]), 0.1 * torch.eye(3)[None], torch.tensor([0.9]), cameras)
    unit = (20 * 0.1 / 3) ** 2
    expected = torch.tensor([1 / (unit * (1 + 1.3**2) + 0.3), 0.0, 1 / (unit + 0.3)])
    torch.testing.assert_close(splats.conics[0, 0], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(splats.means2d[0, 0], torch.tensor([80.0, 20.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("antialias", [True, False])
def test_a_small_splat_keeps_its_light_at_every_resolution(antialias):
    """The share of the picture that a splat far under a pixel covers: the same at 32 and 256 pixels, unless told otherwise."""
    made = scene(1, antialias=antialias)
    made.position.data.zero_()
    made.log_scale.data.fill_(math.log(0.012))
    made.logit.data.fill_(-1.0)
    small, large = (made.render(ring(1, size=size)).alpha.mean().item() for size in (32, 256))
    assert (small == pytest.approx(large, rel=0.15)) if antialias else small > 5 * large


def test_nothing_behind_the_camera_and_no_nan_from_it():
    made = varied(50)
    made.position.data[:25] = torch.tensor([0.0, -4.0, 0.0])  # behind the front camera at y = -3
    made.position.data[25:30] = torch.tensor([0.0, -3.0, 0.0])  # in it
    cameras = look_at(torch.zeros(1), torch.zeros(1), size=24)
    render = made.render(cameras, step())
    render.backward(cotangents(render))
    assert render.extras["radii"][0, :30].eq(0).all() and render.extras["radii"][0, 30:].gt(0).any()
    for name in ("position", "log_scale", "rotation", "logit", "colour"):
        gradient = getattr(made, name).grad
        assert gradient.isfinite().all() and gradient[:30].eq(0).all()


def test_radii_bound_what_is_drawn():
    made = scene(1, opacity=0.5)
    made.position.data.zero_()
    made.log_scale.data = torch.tensor([[0.2, 0.02, 0.02]]).log()
    render = made.render(look_at(torch.zeros(1), torch.zeros(1), size=64))
    columns = render.alpha[0, :, :, 0].amax(0).nonzero()[:, 0].float() + 0.5
    assert (columns - 32).abs().max() <= render.extras["radii"][0, 0] < (columns - 32).abs().max() + 2


def test_harmonics_match_their_closed_form():
    g = torch.Generator().manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(100, 3, generator=g, dtype=torch.float64), dim=-1)
    theta, phi = np.arccos(direction[:, 2].numpy()), np.arctan2(direction[:, 1].numpy(), direction[:, 0].numpy())
    columns = []
    for degree in range(4):
        for order in range(-degree, degree + 1):
            y = sph_harm_y(degree, abs(order), theta, phi)
            columns.append(y.real if order == 0 else math.sqrt(2) * (y.imag if order < 0 else y.real))
    torch.testing.assert_close(harmonics(direction, 3), torch.from_numpy(np.stack(columns, -1)))


def test_view_dependent_colour():
    """One opaque Gaussian with only the harmonic -C1 x: bright seen along -x, dark seen along +x."""
    made = scene(1, sh_degree=1, opacity=0.99)
    made.position.data.zero_()
    made.harmonics.data.zero_()
    made.harmonics.data[0, 2] = 0.5
    made.colour.data.fill_(0.5)
    cameras = look_at(torch.tensor([math.pi / 2, -math.pi / 2]), torch.zeros(2), size=33)  # on +x, on -x
    render = made.render(cameras)
    colour = (render.rgb / render.alpha)[:, 16, 16]
    c1 = math.sqrt(3 / (4 * math.pi))
    torch.testing.assert_close(colour, torch.tensor([[0.5 + 0.5 * c1], [0.5 - 0.5 * c1]]).expand(2, 3))


# --- buffers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [0, 2])
def test_full_render_matches_finite_differences(degree):
    made = varied(4, sh_degree=degree, opacity=0.6, backend="torch").double()
    cameras = _double(ring(2, size=12))
    names = [name for name in NAMES if getattr(made, name).numel()]
    pulls = cotangents(made.render(cameras))

    made.forward = made.render

    def loss(*values):
        render = torch.func.functional_call(made, dict(zip(names, values, strict=True)), (cameras,))
        return sum((buffer * pulls[name]).sum() for name, buffer in render.buffers().items())

    leaves = [getattr(made, name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(loss, leaves, eps=1e-7, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("degree", [0, 3])
def test_numba_and_torch_scenes_agree(degree):
    cameras, results = ring(3, size=32), {}
    for backend in ("numba", "torch"):
        made = varied(400, sh_degree=degree, label=True, backend=backend)
        render = made.render(cameras, step())
        render.backward(cotangents(render))
        gradients = [group.tensor.grad for group in made.groups(step())]
        results[backend] = [*render.buffers().values(), *gradients, render.extras["means2d"].grad]
    for a, b in zip(*results.values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4 * max(1.0, b.abs().max().item()), rtol=0)


def test_buffers_keep_their_ranges():
    made = varied(500, label=True, opacity=0.5, sh_degree=1)
    made.colour.data *= 3
    render = made.render(ring(2, elevation=40.0, size=48))
    assert render.rgb.min() >= 0 and (render.rgb <= render.alpha + 1e-5).all() and render.alpha.max() <= 1
    torch.testing.assert_close(render.labels.sum(-1), torch.ones_like(render.alpha[..., 0]))
    assert render.labels.shape[-1] == 4 and (render.normal.norm(dim=-1) <= render.alpha[..., 0] + 1e-5).all()


def test_flat_gaussian_shows_depth_and_normal():
    made = scene(1, opacity=0.99)
    made.position.data = torch.tensor([[0.0, 0.25, 0.0]])
    made.log_scale.data = torch.tensor([[0.3, 1e-3, 0.3]]).log()  # a disc facing y
    front, back = (made.render(look_at(torch.tensor([a]), torch.zeros(1), size=33)) for a in (0.0, math.pi))
    for render, depth, normal in ((front, 3.25, [0.0, -1.0, 0.0]), (back, 2.75, [0.0, 1.0, 0.0])):
        centre = render.alpha[0, 16, 16]
        torch.testing.assert_close(render.depth[0, 16, 16] / centre, torch.tensor([depth]))
        torch.testing.assert_close(render.normal[0, 16, 16] / centre, torch.tensor(normal), atol=1e-6, rtol=0)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_empty_scene_renders(backend):
    made = scene(0, backend=backend)
    render = made.render(ring(2, size=8), step())
    assert render.alpha.eq(0).all() and render.rgb.shape == (2, 8, 8, 3)
    render.backward(cotangents(render))


def test_same_seed_same_bytes():
    results = []
    for _ in range(2):
        made, adam = scene(300), Adam()
        for index in range(12):
            _move(made, adam, step(index, 12))
        results.append(made.state())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_numba_refuses_what_it_cannot_do():
    with pytest.raises(Mistake, match="float32"):
        scene(3, backend="numba").double().render(_double(ring(1)))
    assert scene(3).about == "3 gaussians on numba: float32 on the CPU"
    assert scene(3).double().about == "3 gaussians on torch: not float32"


# --- surgery --------------------------------------------------------------------------------------------------------


def _double(cameras: Cameras) -> Cameras:
    from dataclasses import fields, replace

    values = {f.name: getattr(cameras, f.name) for f in fields(cameras)}
    return replace(cameras, **{k: v.double() for k, v in values.items() if isinstance(v, torch.Tensor)})


def _move(made: Gaussians, adam: Adam, now: Step) -> Render:
    render = made.render(ring(2, size=16), now)
    render.backward(cotangents(render))
    adam.step(made.groups(now))
    made.refine(render, adam, now)
    return render


def _due(made: Gaussians, score, adam=None) -> Adam:
    """Run one densification with the given mean screen gradients."""
    adam = adam or Adam()
    made.pull, made.seen = torch.as_tensor(score), torch.ones(len(made))
    made._densify(adam, step(20))
    return adam


def test_densify_divides_where_the_gradient_is_largest_and_leaves_the_rest():
    made, adam = varied(100, densify_share=0.1, split_scale=0.35, prune_scale=9.0), Adam()
    _move(made, adam, step(0))
    before = {n: getattr(made, n).detach().clone() for n in NAMES}
    moments = {n: adam.moments[n][1].clone() for n in ("position", "logit")}
    score = torch.rand(100, generator=torch.Generator().manual_seed(1))
    _due(made, score, adam)
    parents = score.argsort(descending=True)[:10]
    rest = torch.ones(100, dtype=torch.bool)
    rest[parents] = False
    assert len(made) == 110
    for name in NAMES:
        assert torch.equal(getattr(made, name)[:90], before[name][rest]) and getattr(made, name).is_leaf
    both = torch.cat([parents, parents])
    large = before["log_scale"].exp().amax(-1)[both] > 0.35
    assert large.any() and not large.all()
    for name, old in moments.items():
        now = adam.moments[name][1]
        first, second = now[90:100], now[100:]
        assert torch.equal(now[:90], old[rest]) and second.eq(0).all()
        assert torch.equal(first[~large[:10]], old[parents][~large[:10]]) and first[large[:10]].eq(0).all()
        assert first[~large[:10]].ne(0).any()
    assert torch.equal(made.position[90:][~large], before["position"][both][~large])
    shrink = made.log_scale[90:] - before["log_scale"][both]
    torch.testing.assert_close(shrink[large], torch.full_like(shrink[large], -math.log(1.6)))
    assert torch.equal(made.logit[90:][large], before["logit"][both][large])
    assert made.pull.eq(0).all() and len(made.pull) == 110


@pytest.mark.parametrize("opacity", [0.5, 0.9])
def test_a_clone_keeps_its_parents_light(opacity):
    """1 % of its light and 0.06 of alpha anywhere; with the parent's scale it would be 9 % and 26 % brighter."""
    made = scene(1, opacity=opacity, densify_share=1.0, split_scale=9.0, prune_scale=9.0)
    made.position.data.zero_()
    made.log_scale.data.fill_(math.log(0.2))
    before = made.render(ring(2, size=49)).alpha
    _due(made, torch.ones(1))
    after = made.render(ring(2, size=49)).alpha
    assert len(made) == 2 and (after.sum() / before.sum() - 1).abs() < 0.01
    assert (after.amax() - before.amax()).abs() < 0.01 and (after - before).abs().max() < 0.06


def test_clones_of_what_is_hardly_there_stay_finite():
    made = scene(1, densify_share=1.0, split_scale=9.0, prune_scale=9.0, prune_opacity=0.0)
    made.logit.data.fill_(-30.0)
    _due(made, torch.ones(1))
    assert len(made) == 2 and made.logit.isfinite().all() and made.log_scale.isfinite().all()


def test_clones_part():
    """Two in one place get the same pull on their opacity: only their moments can tell them apart."""
    made, adam = scene(1, densify_share=1.0, split_scale=9.0, prune_scale=9.0, densify_until=0.0), Adam()
    for index in range(1, 4):
        _move(made, adam, step(index))
    _due(made, torch.ones(1), adam)
    _move(made, adam, step(4))
    for name in ("position", "logit", "log_scale"):
        one, two = getattr(made, name).detach()
        assert (one - two).abs().max() > 1e-4, name


def test_halves_of_a_split_are_drawn_from_their_parent():
    """The offsets of 40 000 have its covariance R diag(s^2) R^T within 2 % of its largest entry; two standard errors
    are 1.4 %. Their opacity is its own."""
    turn, scale = torch.tensor([[0.8, 0.4, -0.2, 0.4]]), torch.tensor([[0.3, 0.2, 0.1]])
    rows = {"position": torch.zeros(20000, 3), "log_scale": scale.log().repeat(20000, 1)}
    rows |= {"rotation": turn.repeat(20000, 1), "logit": torch.linspace(-3, 5, 20000)}
    made = divide(rows, 0.02, step())
    axes = torch.from_numpy(Rotation.from_quat([0.4, -0.2, 0.4, 0.8]).as_matrix()).float()
    expected = axes @ torch.diag(scale[0] ** 2) @ axes.T
    found = made["position"].T @ made["position"] / 40000
    assert (found - expected).abs().max() < 0.02 * expected.max() and made["position"].mean(0).abs().max() < 0.01
    assert torch.equal(made["logit"], torch.cat([rows["logit"]] * 2))


def test_the_gradient_that_counts_is_the_mean_over_the_views_that_see_it():
    made = scene(3, densify_share=0.4, split_scale=9.0, prune_scale=9.0)
    made.colour.data = torch.tensor([[0.1], [0.2], [0.3]]).repeat(1, 3)
    made.pull, made.seen = torch.tensor([4.0, 3.0, 0.0]), torch.tensor([4.0, 1.0, 0.0])
    made._densify(Adam(), step(20))
    assert made.colour[:, 0].tolist() == pytest.approx([0.1, 0.3, 0.2, 0.2])


def test_views_that_see_it_are_counted():
    made = scene(2, densify_from=1.0)
    made.position.data = torch.tensor([[0.0, 0.0, 0.0], [0.0, -9.0, 0.0]])  # the second one behind the first camera
    render = made.render(ring(2, elevation=0.0, size=16), step())
    render.backward({"rgb": torch.ones(2, 16, 16, 3)})
    made.refine(render, Adam(), step())
    assert made.seen.tolist() == [2, 1]
    torch.testing.assert_close(made.pull, render.extras["means2d"].grad.norm(dim=-1).sum(0))


def test_a_long_needle_is_pruned_by_its_largest_axis():
    made = scene(2, densify_share=0.0, prune_scale=0.3)
    made.log_scale.data = torch.tensor([[0.5, 0.01, 0.01], [0.25, 0.25, 0.25]]).log()
    _due(made, torch.zeros(2))
    assert made.log_scale.exp().tolist() == [pytest.approx([0.25] * 3)]


def test_harmonics_move_a_twentieth_as_fast_as_colours():
    made = scene(2, sh_degree=1, lr_colour=Ramp(0.02, 0.01), lr_position=Ramp(0.5))
    for index, colour in ((0, 0.02), (99, 0.01)):
        rates = {group.name: group.lr for group in made.groups(step(index))}
        assert list(rates) == list(NAMES) and rates["position"] == 0.5
        assert (rates["colour"], rates["harmonics"]) == pytest.approx((colour, colour / 20))


def test_the_limit_holds_and_pruning_frees_room():
    made = varied(100, densify_share=0.5, max_count=105)
    _due(made, torch.ones(100))
    assert len(made) == 105
    made.logit.data[:40] = -9
    made.log_scale.data[40:50] = 1.0
    _due(made, torch.zeros(105))
    assert len(made) == 55 and made.logit.min() > -9 and made.log_scale.max() < 1


def test_pruning_never_empties_a_scene():
    made = scene(10)
    made.logit.data.fill_(-9)
    _due(made, torch.ones(10))
    assert len(made) == 10


def test_opacity_reset_and_schedule():
    made, adam = scene(100, reset_every=0.5, densify_until=0.9, densify_share=0.0), Adam()
    made.logit.data.fill_(2.0)
    for index in range(51):
        _move(made, adam, step(index))
        assert index == 50 or made.logit.max() > 0
    assert made.logit.sigmoid().max() <= 0.0501 and adam.moments["logit"][0].eq(0).all()


def test_refine_is_over_after_densify_until():
    made, adam = scene(100, densify_until=0.5), Adam()
    counts = []
    for index in range(20):
        _move(made, adam, step(index, 20))
        counts.append(len(made))
    assert counts[0] == counts[1] == 100 and counts[9] > 100 and len(set(counts[10:])) == 1


def test_labels_follow_their_gaussians():
    made = varied(60, label=True, densify_share=0.2)
    made.colour.data = made.label[:, None].repeat(1, 3).float()
    made.logit.data[made.label == 2] = -9  # one object vanishes, its channel stays
    _due(made, torch.rand(60, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(made.label.float(), made.colour[:, 0]) and len(made.label) == len(made)
    assert made.render(ring(1, size=8)).labels.shape[-1] == 4


# --- state and handing over -----------------------------------------------------------------------------------------


def test_resume_is_bit_exact_across_a_changed_count():
    first, adam = scene(100), Adam()
    for index in range(10):
        _move(first, adam, step(index, 20))
    second, again = scene(100), Adam()
    second.restore({k: v.clone() for k, v in first.state().items()})
    again.restore(adam.state())
    assert len(second) == len(first) != 100
    for index in range(10, 20):
        _move(first, adam, step(index, 20))
        _move(second, again, step(index, 20))
    assert all(torch.equal(second.state()[name], value) for name, value in first.state().items())


def test_handover_and_back_shows_the_same():
    first, second = varied(80, sh_degree=2, label=True), scene(5, sh_degree=2)
    second.init_from(first.handover())
    before, after = (made.render(ring(2, size=24)).buffers() for made in (first, second))
    for name, buffer in before.items():
        torch.testing.assert_close(after[name], buffer, atol=1e-4, rtol=1e-4)


def test_colours_are_handed_over_as_shown():
    """A viewer of splats does not clamp; with harmonics only the sum is clamped, so the terms are kept."""
    made, keeps = scene(2), scene(2, sh_degree=1)
    for each in (made, keeps):
        each.colour.data = torch.tensor([[1.4, 0.5, -0.2], [0.0, 0.3, 1.0]])
    sh, c0 = made.handover().sh, 0.28209479
    torch.testing.assert_close(0.5 + c0 * sh[:, 0], torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.3, 1.0]]))
    torch.testing.assert_close(0.5 + c0 * keeps.handover().sh[:, 0], keeps.colour.data)


def test_degrees_may_differ_between_stages():
    high, low = varied(20, sh_degree=3), scene(1, sh_degree=1)
    low.init_from(high.handover())
    assert low.harmonics.shape == (20, 3, 3) and torch.equal(low.harmonics.data, high.harmonics.data[:, :3])
    high.init_from(low.handover())
    assert high.harmonics.shape == (20, 15, 3) and high.harmonics.data[:, 3:].eq(0).all()


def test_init_from_plain_points():
    made, g = scene(5), torch.Generator().manual_seed(0)
    points = Points(torch.rand(40, 3, generator=g) - 0.5, torch.rand(40, 3, generator=g), label=torch.arange(40) % 2)
    made.init_from(points)
    assert torch.equal(made.position.data, points.position) and torch.equal(made.colour.data, points.rgb)
    torch.testing.assert_close(made.log_scale.exp(), spacing(points.position)[:, None].expand(-1, 3))
    assert made.render(ring(1, size=8)).labels.shape[-1] == 3


def cube() -> Mesh:
    import trimesh

    box = trimesh.creation.box((1.0, 1.0, 1.0))
    vertices = torch.tensor(box.vertices, dtype=torch.float32)
    return Mesh(vertices, torch.tensor(box.faces), rgb=vertices + 0.5, label=torch.arange(12) // 6)


def test_init_from_mesh_covers_the_surface_evenly():
    made = scene(1200)
    made.init_from(cube())
    on_face = (made.position.detach().abs() - 0.5).abs() < 1e-5
    outward = made.position.detach()[..., None] * torch.tensor([-1.0, 1.0]) > 0
    sides = (on_face[..., None] & outward).sum(0).flatten().tolist()
    assert on_face.any(1).all() and all(abs(side - 200) <= 4 for side in sides)
    torch.testing.assert_close(made.colour, made.position + 0.5)
    assert made.label.tolist().count(0) == 600


def test_a_triangle_is_covered_evenly():
    """Mean at the centroid, 1 % of the sides; a quarter of the points in each of its four like parts."""
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]])
    place = from_mesh(Mesh(corners, torch.tensor([[0, 1, 2]])), 2000).position
    assert (place.mean(0) - torch.tensor([1 / 3, 0.0, 1 / 3])).abs().max() < 0.01
    parts = [place[:, 0] > 0.5, place[:, 2] > 0.5, place[:, 0] + place[:, 2] < 0.5]
    assert all(abs(part.float().mean() - 0.25) < 0.01 for part in parts)


def test_init_from_mesh_reads_its_texture():
    texture = torch.zeros(8, 8, 3)
    texture[:4, :, 0] = 1  # upper half red
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    points = from_mesh(Mesh(square, faces, uv=square[:, [0, 2]][faces], texture=texture), 400)
    height, red = points.position[:, 2], points.rgb[:, 0]
    assert red[height > 0.6].min() > 0.999 and red[height < 0.4].max() < 0.001


@pytest.mark.parametrize("kind", ["density", "distance"])
def test_init_from_field_covers_the_object(kind):
    axis = torch.linspace(-0.75, 0.75, 40)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).norm(dim=-1)
    values = {"density": 200.0 * (radius < 0.4)} if kind == "density" else {"distance": radius - 0.4}
    made = scene(500)
    made.init_from(Field(0.75, rgb=torch.full((40, 40, 40, 3), 0.2), **values))
    found = made.position.norm(dim=-1)
    assert found.min() > 0.36 and found.max() < 0.44 and torch.allclose(made.colour, torch.tensor(0.2)) and len(made) == 500
    thin = matrix(made.rotation)[:, :, 2].detach()  # the discs' axes
    facing = ((thin * made.position).sum(-1) / found).min()
    assert facing > (0.98 if kind == "distance" else 0.7) and made.log_scale.argmin(1).eq(2).all()
    assert made.position.mean(0).abs().max() < 0.03


def test_empty_data_is_a_mistake():
    with pytest.raises(Mistake, match="empty"):
        from_field(Field(0.75, density=torch.zeros(4, 4, 4)), 10)
    with pytest.raises(Mistake, match="density or distance"):
        from_field(Field(0.75), 10)
    with pytest.raises(Mistake, match="nothing"):
        scene(3).init_from(Points(torch.zeros(0, 3), torch.zeros(0, 3)))


# --- a known object -------------------------------------------------------------------------------------------------


def sphere(cameras: Cameras, radius: float = 0.5) -> tuple:
    """A striped ball seen exactly: rgb, alpha, depth, normal."""
    origin, ray = cameras.rays()
    b, a = (origin * ray).sum(-1), (ray * ray).sum(-1)
    inside = b * b - a * ((origin * origin).sum(-1) - radius**2)
    far = ((-b - inside.clamp(min=0).sqrt()) / a)[..., None]
    normal = (origin + far * ray) / radius
    alpha = (inside > 0)[..., None].float()
    striped = torch.sin(8 * torch.atan2(normal[..., 0], -normal[..., 1])) > 0
    colour = torch.where(striped[..., None], 0.5 + 0.5 * normal, torch.tensor([0.9, 0.1, 0.1]))
    return colour * alpha, alpha, far * alpha, normal * alpha


def test_fits_a_striped_ball_in_a_hundred_steps():
    made, adam, cameras = scene(1500), Adam(), ring(4, size=48)
    rgb, alpha, depth, normal = sphere(cameras)
    for index in range(100):
        render = made.render(cameras, step(index))
        render.backward({"rgb": render.rgb.detach() - rgb, "alpha": render.alpha.detach() - alpha})
        adam.step(made.groups(step(index)))
        made.refine(render, adam, step(index))
    with torch.no_grad():
        render = made.render(cameras)
    psnr = -10 * (render.rgb - rgb).square().mean().log10()
    error = ((render.depth - depth).abs() * alpha).sum() / alpha.sum()
    facing = (render.normal * normal).sum() / alpha.sum()
    assert psnr > 23.5 and error < 0.17 and facing > 0.5, (psnr, error, facing)
