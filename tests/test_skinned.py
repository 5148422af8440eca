"""The skinned representation: what moves it, what it learns and what stays, Gaussians on it."""

import dataclasses
import math

import pytest
import torch
from skinned_scenes import ALL, STILL, coloured, double, scene, step

from dream3d.cameras import clips, ring
from dream3d.optim import Adam
from dream3d.penalties import laplacian
from dream3d.rig import kinematics
from dream3d.rig.load import load
from dream3d.schedule import Ramp
from dream3d.types import Step

# --- where it is ----------------------------------------------------------------------------------------------------


def test_at_rest_it_is_the_template_to_the_bit():
    rig = load("humanoid").to(torch.float32)
    made = scene()
    assert torch.equal(made.vertices(), rig.vertices)
    handed = made.handover()
    assert torch.equal(handed.vertices, rig.vertices) and torch.equal(handed.faces, rig.faces)
    assert torch.equal(made.render(ring(1, size=16)).extras["vertices"], rig.vertices)


def test_displacements_go_along_normals_by_as_many_metres_and_zero_is_the_template():
    made = scene(stiffness=0.0)
    rest = made.vertices().detach()
    made.body.displacement.data.fill_(0.01)
    away = made.vertices() - rest
    torch.testing.assert_close(away.norm(dim=1), torch.full((len(rest),), 0.01), atol=1e-6, rtol=0)
    centre = (rest - rest.mean(0)) * torch.tensor([1.0, 1.0, 0.0])
    assert ((away * centre).sum(1) > 0).float().mean() > 0.7  # outwards
    made.body.displacement.data.zero_()
    assert torch.equal(made.vertices(), rest)
    free = scene(stiffness=0.0, displace="vector")
    free.body.displacement.data[:] = torch.tensor([0.0, 0.02, 0.0])
    torch.testing.assert_close(free.vertices() - rest, torch.tensor([0.0, 0.02, 0.0]).expand_as(rest), atol=1e-6, rtol=0)


def test_pose_and_shape_are_set_by_name():
    made, rig = scene(pose={"left_elbow": (0, 0, 90)}, shape={"height": 1.0}), load("humanoid").to(torch.float32)
    angles = torch.zeros(len(rig.names), 3)
    angles[rig.names.index("left_elbow"), 2] = math.pi / 2
    vertices, joints = kinematics.shaped(rig, torch.tensor([1.0, 0, 0, 0, 0]))
    torch.testing.assert_close(made.vertices(), kinematics.skinned(rig, vertices, joints, kinematics.rotations(angles)))
    assert made.vertices()[:, 2].max() > rig.vertices[:, 2].max() + 0.05


@pytest.mark.parametrize("surface", ["mesh", "gaussians"])
def test_gradients_reach_pose_shape_and_displacement_as_finite_differences_say(surface):
    """Of places: in float64 along random directions of each, for a body that is bent already."""
    made = scene(surface=surface, pose={"left_knee": (40, 0, 0), "head": (0, 20, 0)}, **ALL).double()
    g = torch.Generator().manual_seed(4)
    made.body.displacement.data.normal_(0, 0.01, generator=g)

    def told():
        if surface == "mesh":
            return (made.vertices() * cotangent["vertices"]).sum()
        return sum((v * cotangent[k]).sum() for k, v in made.surface.placed(made.vertices(), made.body.faces).items())

    shown = {"vertices": made.vertices()} if surface == "mesh" else made.surface.placed(made.vertices(), made.body.faces)
    cotangent = {k: torch.randn(v.shape, generator=g, dtype=torch.float64) for k, v in shown.items()}
    told().backward()
    learnt = {name: getattr(made.body, name) for name in ("pose", "shape", "displacement")}
    if surface == "gaussians":
        learnt |= {"offset": made.surface.offset, "rotation": made.surface.set.rotation}
    with torch.no_grad():
        for name, p in learnt.items():
            way, h = torch.randn(p.shape, generator=g, dtype=torch.float64), 1e-6
            p += h * way
            above = told()
            p -= 2 * h * way
            below = told()
            p += h * way
            slope = (p.grad * way).sum()
            assert slope.abs() > 1e-3
            torch.testing.assert_close((above - below) / (2 * h), slope, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("surface", ["mesh", "gaussians"])
def test_the_gradient_of_colours_in_the_picture_is_that_of_finite_differences(surface):
    made, seen = coloured(scene(surface=surface, backend="torch")).double(), double(ring(2, size=16))
    colour = made.surface.look.colour if surface == "mesh" else made.surface.set.colour
    colour.data.clamp_(0.2, 0.8)
    g = torch.Generator().manual_seed(5)
    cotangent, way = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((2, 16, 16, 3), colour.shape))
    (made.render(seen).rgb * cotangent).sum().backward()
    with torch.no_grad():
        colour += 1e-4 * way
        above = (made.render(seen).rgb * cotangent).sum()
        colour -= 2e-4 * way
        slope = (above - (made.render(seen).rgb * cotangent).sum()) / 2e-4
    torch.testing.assert_close((colour.grad * way).sum(), slope, rtol=1e-6, atol=1e-9)


def test_pictures_of_another_body_teach_shape_and_pose():
    """24 views of a doll with other coefficients and a lifted arm: both are found from pictures alone."""
    wanted = coloured(scene(shape={"girth": 1.0, "legs": -1.0}, pose={"left_shoulder": (0, -25, 0)}))
    made, optimizer = coloured(scene(**{**STILL, "lr_pose": Ramp(2e-2, 2e-3), "lr_shape": Ramp(8e-2, 8e-3)})), Adam()
    seen = ring(24, size=40)
    with torch.no_grad():
        target = wanted.render(seen)
    for index in range(50):
        now = Step.make(index, 50, 0)
        rows = torch.randperm(24, generator=now.rng)[:3]
        drawn = made.render(seen.at(rows), now)
        ((drawn.rgb - target.rgb[rows]).square().sum() + (drawn.alpha - target.alpha[rows]).square().sum()).backward()
        optimizer.step(made.groups(now))
    off = (made.vertices() - wanted.vertices()).norm(dim=1)
    before = (scene().vertices() - wanted.vertices()).norm(dim=1)
    assert off.mean() < 0.35 * before.mean() and off.max() < 0.2 * before.max(), (off.mean(), before.mean(), off.max(), before.max())


# --- Gaussians on it ------------------------------------------------------------------------------------------------


def test_gaussians_follow_a_turn_of_the_whole_rig_exactly():
    made = scene(surface="gaussians").double()
    g = torch.Generator().manual_seed(6)
    made.surface.set.rotation.data.normal_(generator=g)
    made.surface.offset.data.normal_(0, 0.02, generator=g)
    still = made.surface.placed(made.vertices(), made.body.faces)
    made.body.pose.data[0] = torch.tensor([0.4, -1.1, 2.0])
    turned = made.surface.placed(made.vertices(), made.body.faces)
    turn, hips = kinematics.rotations(made.body.pose[0]), made.body.joints[0]
    expected = (still["set.position"] - hips) @ turn.T + hips
    torch.testing.assert_close(turned["set.position"], expected, atol=1e-7, rtol=0)  # weights sum to one in single precision
    matrices = [kinematics.matrices(part["set.rotation"]) for part in (still, turned)]
    torch.testing.assert_close(matrices[1], turn @ matrices[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(turned["set.log_scale"], still["set.log_scale"], atol=1e-6, rtol=0)


def test_gaussians_lie_on_the_surface_cover_it_and_grow_with_it():
    made, solid, seen = scene(surface="gaussians", count=4000), scene(), ring(3, size=48)
    drawn, expected = made.render(seen), solid.render(seen)
    both = torch.minimum(drawn.alpha, expected.alpha).sum() / torch.maximum(drawn.alpha, expected.alpha).sum()
    assert both > 0.8
    full = expected.alpha[..., 0] == 1
    assert (drawn.alpha[full] > 0.9).float().mean() > 0.95
    assert (drawn.depth - expected.depth)[full & (drawn.alpha[..., 0] > 0.99)].abs().median() < 0.02
    small = made.surface.placed(made.vertices(), made.body.faces)["set.log_scale"]
    large = made.surface.placed(1.3 * made.vertices(), made.body.faces)["set.log_scale"]
    torch.testing.assert_close(large - small, torch.full_like(small, math.log(1.3)), atol=1e-4, rtol=0)
    place = made.surface.placed(made.vertices(), made.body.faces)["set.position"]
    corners = made.vertices()[made.body.faces[made.surface.face]]
    on = (corners * made.surface.weights[..., None]).sum(1)
    torch.testing.assert_close((place - on).norm(dim=1), made.surface.offset.abs(), atol=1e-6, rtol=0)


# --- poses and motions ----------------------------------------------------------------------------------------------


def test_random_poses_stay_within_the_limits_and_are_drawn_from_the_step():
    made = scene(poses="random", sway=0.8)
    low, high = (0.8 * v for v in made.body.limits.unbind(1))
    for index in range(5):
        turns = made.body.stances(ring(1), step(index), "random", None, 0.8)[0][1]
        again = made.body.stances(ring(1), step(index), "random", None, 0.8)[0][1]
        assert torch.equal(turns, again)
        angles = 2 * torch.atan2((q := kinematics.quaternions(turns))[:, 1:].norm(dim=1), q[:, 0].abs())
        assert (angles <= torch.maximum(low.abs(), high.abs()).norm(dim=1) + 1e-4).all() and angles.max() > 0.3
    seen = ring(2, size=24)
    one, two = (made.render(seen, step(i)) for i in range(2))
    assert (one.alpha - two.alpha).abs().max() > 0.5
    assert torch.equal(made.render(seen).alpha, scene().render(seen).alpha)  # outside of optimisation it stands
    assert torch.equal(one.extras["vertices"], two.extras["vertices"])  # penalties see it unbent


def test_what_sways_stays_within_its_limits_wherever_it_stands():
    """An elbow that is nearly bent, another that is bent too far, a root; a rig without limits sways about where it stands."""
    made = scene(pose={"left_elbow": (-120, 0, 0), "right_elbow": (-140, 0, 0), "hips": (0, 0, 90)})
    names, given = made.body.given.names, made.body.given

    def angles(name: str) -> torch.Tensor:
        """Axis times angle, degrees."""
        k = names.index(name)
        q = kinematics.quaternions(torch.stack([made.body.swaying(step(i), 1.0)[k] for i in range(40)]))
        q = torch.where(q[:, :1] < 0, -q, q)
        return torch.rad2deg(2 * torch.atan2(q[:, 1:].norm(dim=1), q[:, 0]))[:, None] * torch.nn.functional.normalize(q[:, 1:], dim=1)

    low, high = torch.rad2deg(given.limits[names.index("left_elbow")])
    left, right = angles("left_elbow"), angles("right_elbow")
    assert (left > low - 0.1).all() and (left < high + 0.1).all() and left[:, 0].min() < -121 and left[:, 1].std() > 1
    assert right[:, 0].min() > -140.1 and right[:, 0].max() < -139
    torch.testing.assert_close(made.body.swaying(step(3), 1.0)[names.index("hips")], made.body.standing()[names.index("hips")])
    made.body.given = dataclasses.replace(given, bounded=False)
    assert angles("left_elbow")[:, 0].min() < low[0] - 5


@pytest.mark.parametrize("surface", ["mesh", "gaussians"])
def test_cameras_with_a_time_see_the_motion_then(surface):
    made = coloured(scene(surface=surface, motion="wave"))
    seen = dataclasses.replace(ring(5, size=24), time=torch.tensor([0.6, 0.0, 1.0, 0.6, 0.3]))
    together = made.render(seen)
    for i in range(5):
        alone = made.render(seen.at(torch.tensor([i])))
        for name, buffer in together.buffers().items():
            torch.testing.assert_close(buffer[i : i + 1], alone.buffers()[name], atol=1e-5, rtol=1e-5)
    still = made.render(ring(5, size=24))
    torch.testing.assert_close(together.rgb[1:3], still.rgb[1:3], atol=1e-5, rtol=0)  # at rest at both ends
    assert (together.alpha - still.alpha)[[0, 3]].abs().max() > 0.5
    calm = scene(surface=surface).render(clips(ring(2, size=24), 3)).alpha.unflatten(0, (2, 3))
    assert torch.equal(calm, calm[:, :1].expand_as(calm))  # without a motion a clip is still


def test_poses_from_a_motion_are_moments_of_it_and_its_joints_replace_those_of_the_pose():
    made = scene(motion="wave", poses="motion", pose={"right_shoulder": (0, -30, 0), "left_shoulder": (0, 30, 0)})
    time = step(4).uniform(1).item()
    ((_, turns, _),) = made.body.stances(ring(1), step(4), "motion", made.motion, 0.5)
    played, _ = made.motion.at(time)
    index = made.body.given.names.index
    torch.testing.assert_close(turns[index("right_shoulder")].double(), kinematics.matrices(played)[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(turns[index("left_shoulder")], made.body.standing()[index("left_shoulder")])
    assert made.render(ring(2, size=16), step()).alpha.max() > 0


def test_all_moments_of_a_clip_are_lit_alike():
    made = scene(motion="walk", shading={"albedo": 0.5, "textureless": 0.5})
    seen = dataclasses.replace(ring(4, size=24), time=torch.tensor([0.0, 1.0, 0.25, 0.75]))
    for index in range(4):
        bright = made.render(seen, step(index)).rgb.amax((1, 2, 3))
        assert (bright < 0.51).all() or (bright > 0.51).all()


# --- what it learns -------------------------------------------------------------------------------------------------


def test_what_learns_nothing_has_no_group_and_no_gradient():
    for surface in ("mesh", "gaussians"):
        made = scene(surface=surface, **STILL)
        assert made.groups(step()) == [] and not any(p.requires_grad for p in made.parameters())
    names = [g.name for g in scene(surface="gaussians", **ALL).groups(step())]
    assert names == ["pose", "shape", "displacement", "offset", "log_scale", "rotation", "logit", "colour"]
    assert [g.name for g in scene().groups(step())] == ["shape", "displacement", "colour"]  # no expressions in ours, pose at 0
    late = scene(**{**STILL, "lr_pose": Ramp(0.0, 0.1, begin=0.5, until=1.0)})
    late.render(ring(2, size=16)).rgb.sum().backward()
    assert late.groups(step(0)) == [] and late.body.pose.grad is None  # nothing is saved up for later
    late.render(ring(2, size=16)).rgb.sum().backward()
    assert [g.name for g in late.groups(step(19))] == ["pose"] and late.body.pose.grad is not None


@pytest.mark.parametrize("name", ["pose", "shape", "displacement", "colour"])
def test_only_what_learns_changes(name):
    made = scene(**{**STILL, f"lr_{name}": Ramp(0.01)})
    before = {k: v.clone() for k, v in made.state().items()}
    made.render(ring(2, size=24), step()).rgb.square().sum().backward()
    assert Adam().step(made.groups(step()))
    changed = {k.rpartition(".")[2] for k, v in made.state().items() if not torch.equal(v, before[k])}
    assert changed == {name}


def test_the_laplacian_penalty_smooths_displacements():
    made, optimizer = scene(stiffness=0.0, **{**STILL, "lr_displacement": Ramp(1e-3)}), Adam()
    made.body.displacement.data.normal_(0, 0.01, generator=torch.Generator().manual_seed(0))
    values = []
    for index in range(12):
        loss = laplacian(made, made.render(ring(1, size=16), step(index)))
        loss.backward()
        values.append(loss.item())
        optimizer.step(made.groups(step(index)))
    assert values[-1] < 0.6 * values[0]
