"""The Gaussian representation: projection, harmonics, buffers, and a fit to a known object."""

import math

import numpy as np
import pytest
import torch
from dream3d.renderers._backends.project import harmonics, matrix, project
from dream3d.renderers.gaussians import NAMES
from gaussian_scenes import cotangents, double, move, scene, step, varied
from scipy.special import sph_harm_y

from dream3d.cameras import look_at, ring
from dream3d.errors import Mistake
from dream3d.optim import Adam
from dream3d.types import Cameras

# --- projection and colour ------------------------------------------------------------------------------------------


def test_projection_is_the_pinhole_and_its_jacobian():
    """Means by the pinhole model; covariances as J W S W^T J^T + 0.3 with J from autograd of the pinhole."""
    made, cameras = varied(30).double(), double(ring(2, size=40))
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
    cameras = double(ring(2, size=12))
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
            move(made, adam, step(index, 12))
        results.append(made.state())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_numba_refuses_what_it_cannot_do():
    with pytest.raises(Mistake, match="float32"):
        scene(3, backend="numba").double().render(double(ring(1)))
    assert scene(3).about == "3 gaussians on numba: float32 on the CPU"
    assert scene(3).double().about == "3 gaussians on torch: not float32"


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
