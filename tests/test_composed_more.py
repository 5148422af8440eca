"""Scenes of several objects, and single ones: copies for edits, rounds that show every object, what places and frozen objects learn."""

import copy
import dataclasses

import pytest
import torch
from composed_scenes import BALL, FEW, LEFT, RIGHT, WHOLE, scene, splats, step

from dream3d import build, penalties
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.optim import Adam
from dream3d.schedule import Ramp
from dream3d.types import Mesh, Step

SKINNED = {"type": "skinned", "count": 300, "lr_pose": 0.01}
VOXELS = {"type": "voxels", "resolution": 12, "samples": 16, "occupancy": 8}
COPIED = {
    "mesh": BALL, "dynamic_mesh": {"type": "dynamic_mesh", "faces": 80}, "dynamic_gaussians": {"type": "dynamic_gaussians", "count": 40},
    "skinned": SKINNED, "skinned gaussians": {**SKINNED, "surface": "gaussians"}, "voxels": VOXELS, "gaussians": FEW,
}  # fmt: skip


def copied(made) -> None:
    """A copy, as edits keep one, shows the same and stays when the other changes."""
    made.render(ring(1, size=16), step()).rgb.sum().backward()
    twin = copy.deepcopy(made).requires_grad_(False)
    before = twin.render(ring(2, size=16)).rgb
    torch.testing.assert_close(before, made.render(ring(2, size=16)).rgb.detach(), atol=1e-5, rtol=0)
    for parameter in made.parameters():
        parameter.data.add_(0.05)
    assert torch.equal(twin.render(ring(2, size=16)).rgb, before) and (made.render(ring(2, size=16)).rgb - before).abs().max() > 0.01


@pytest.mark.parametrize("name", COPIED)
def test_every_scene_can_be_kept_beside_its_edit(name):
    copied(build.make("renderers", COPIED[name], torch.Generator().manual_seed(0)))


def test_a_composed_scene_can_be_kept_beside_its_edit():
    copied(scene({"box": LEFT}, {"box": RIGHT, "renderer": BALL}))


# --- rounds -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize(("objects", "groups"), [(2, 1), (4, 2), (8, 4), (3, 2)])
def test_rounds_show_every_object_equally_often(whole, objects, groups):
    boxes = [{"box": {"centre": [0.0, 0.0, 0.0], "size": 0.5}}] * objects
    made, cameras = scene(*boxes, common={**FEW, "count": 1}, whole=whole), ring(groups, size=8)
    shown = torch.cat([made._shown(cameras, Step.make(i, 64, 0)) for i in range(64)])
    alone = shown[shown >= 0].bincount(minlength=objects)
    assert alone.max() - alone.min() <= 1 and alone.sum() == groups * round(64 * (1 - whole))


# --- places and frozen objects ----------------------------------------------------------------------------------------------------


def test_what_leaves_its_box_does_not_shrink_the_box():
    made = scene({"box": {"centre": [0.1, 0.0, 0.0], "size": 0.75}}, {"box": WHOLE, "frozen": True}, lr_place=Ramp(0.01))
    made.parts[0].position.data *= 3
    penalties.boxed(made, made.render(ring(1, size=16))).backward()
    assert made.parts[0].position.grad.abs().max() > 0 and made.size.grad is None


def test_what_a_place_gets_while_it_rests_is_not_saved_up():
    late = Ramp(0.0, 0.1, begin=0.5)
    made, cameras = scene({"box": LEFT}, {"box": RIGHT}, lr_place=late), ring(1, size=16)
    for i in range(4):
        made.render(cameras, step(i)).rgb.sum().backward()
        assert not {group.name for group in made.groups(step(i))} & {"shift", "turn", "size"}
    assert made.shift.grad is None and made.turn.grad is None and made.size.grad is None
    made.render(cameras, step(15)).rgb.sum().backward()
    assert {"shift", "turn", "size"} <= {group.name for group in made.groups(step(15))} and made.shift.grad.any()


def test_frozen_volumes_know_where_they_are_empty():
    made = scene({"box": LEFT, "renderer": VOXELS, "frozen": True}, {"box": RIGHT})
    before = [parameter.clone() for parameter in made.parts[0].parameters()]
    assert not made.parts[0].density.isfinite().any()
    made.refine(made.render(ring(1, size=16), step(0)), Adam(), step(0))
    assert made.parts[0].density.isfinite().all()
    assert all(torch.equal(*pair) for pair in zip(before, made.parts[0].parameters(), strict=True))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_stage_may_add_an_object_that_has_a_file(frozen, tmp_path):
    handed = scene({"box": LEFT}, {"box": RIGHT}).handover()
    added = {"box": {"centre": [0.0, 0.3, 0.0], "size": 0.4}, "file": str(splats(tmp_path / "car.ply", 5)), "frozen": frozen}
    made = scene({"box": LEFT}, {"box": RIGHT}, added)
    made.init_from(handed)
    assert [len(part) for part in made.parts] == [40, 40, 30]
    with pytest.raises(Mistake, match="nothing of what was handed over belongs to 'thing 2'"):
        scene({"box": LEFT}, {"box": RIGHT}, {k: v for k, v in added.items() if k == "box"}).init_from(handed)


# --- light ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [True, False])
def test_all_objects_of_a_picture_are_shaded_one_way(smooth):
    """Drawn as one mesh, or as layers of their own."""
    half = {**BALL, "shading": {"albedo": 0.5, "textureless": 0.5}}
    made = scene({"box": LEFT}, {"box": RIGHT, "renderer": {"smooth": smooth}}, common=half)
    for part in made.parts:
        part.look.colour.data[:] = torch.tensor([0.9, 0.1, 0.1])
    seen = set()
    for i in range(12):
        picture = made.render(ring(1, size=24), step(i))
        green = [picture.rgb[..., 1][picture.labels[..., k] > 0.99].mean() > 0.5 for k in range(2)]
        assert green[0] == green[1], i
        seen.add(bool(green[0]))
    assert seen == {True, False}


LIT = {"lambert": 0.05, "textureless": 0.05, "pbr": 0.1}  # how much differs between poses of an object, at least


@pytest.mark.parametrize("more", [{}, {"backend": "numba"}], ids=["one picture", "layers"])
@pytest.mark.parametrize("shading", LIT)
def test_objects_stand_under_the_lamps_and_the_sky_of_their_world(shading, more):
    """In a step, and outside of one: as one mesh with the same corners does."""
    kind = {**BALL, "shading": shading}
    made = scene({"box": LEFT}, {"box": RIGHT, "rotation": [20.0, -30.0, 70.0], "renderer": more}, common=kind)
    joint, own = build.make("renderers", kind, torch.Generator().manual_seed(0)), [part.vertices().detach() for part in made.parts]
    corners = torch.cat([place.out(x) for place, x in zip(made.places(), own, strict=True)])
    joint._start(Mesh(corners, torch.cat([made.parts[0].faces, made.parts[1].faces + len(own[0])])))
    for part in made.parts:
        part.look.colour.data.uniform_(0.2, 0.8, generator=torch.Generator().manual_seed(len(own[0])))
    joint.look.colour.data = torch.cat([part.look.colour.data for part in made.parts])
    cameras = ring(4, size=32, elevation=20.0)
    for now in (None, 0, 5):
        a, b = (x.render(cameras, None if now is None else step(now)) for x in (made, joint))
        inside = ((a.labels > 0.999) | (a.labels < 0.001)).all(-1)
        assert (a.rgb - b.rgb).abs().amax(-1)[inside].max() < 2e-3, now
    alone = made.parts[1].render(dataclasses.replace(made.places()[1].cameras(cameras), frame=None), step(5))
    framed = made.parts[1].render(made.places()[1].cameras(cameras), step(5))
    assert (alone.rgb - framed.rgb).abs().max() > LIT[shading]


# --- penalties --------------------------------------------------------------------------------------------------------------------


KINDS = {
    "gaussians": FEW, "mesh": BALL, "skinned": SKINNED, "voxels": {**VOXELS, "geometry": "volsdf"},
    "dynamic_mesh": {"type": "dynamic_mesh", "faces": 80}, "dynamic_gaussians": {"type": "dynamic_gaussians", "count": 40},
    "dmtet": {"type": "dmtet", "resolution": 8},
}  # fmt: skip
COUNTED = {
    "opacity": {"gaussians", "dynamic_gaussians"}, "scale": {"gaussians", "dynamic_gaussians"},
    "laplacian": {"mesh", "skinned", "dynamic_mesh", "dmtet"}, "boxed": {*KINDS} - {"voxels"}, "eikonal": {"voxels"},
    "variation": {"voxels"}, "crossing": {"dmtet"}, "arap": {"dynamic_mesh", "dynamic_gaussians"},
}  # fmt: skip


def test_a_penalty_counts_every_object_that_it_can():
    """A scene of one of each kind costs what scenes of each alone do."""
    cameras = dataclasses.replace(ring(3, size=16), time=torch.tensor([0.0, 0.5, 1.0]))
    made = scene(*({"box": LEFT, "renderer": kind} for kind in KINDS.values()))
    for part in made.parts:
        for name, parameter in part.named_parameters():
            if name.startswith("field"):
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
            elif name.endswith(("position", "u")):
                parameter.data *= 3.0
    singles = {}
    for i, (name, kind) in enumerate(KINDS.items()):
        singles[name] = scene({"box": LEFT, "renderer": kind})
        singles[name].parts[0] = made.parts[i]
    seen, whole = {name: single.render(cameras) for name, single in singles.items()}, made.render(cameras)
    for penalty, kinds in COUNTED.items():
        cost = getattr(penalties, penalty)
        alone = {name: cost(singles[name], seen[name]).item() for name in kinds}
        assert all(value > 0 or name in ("skinned", "dmtet") for name, value in alone.items()), (penalty, alone)
        assert cost(made, whole).item() == pytest.approx(sum(alone.values()), rel=1e-4), penalty
        for name in {*KINDS} - kinds:
            with pytest.raises(Mistake, match=f"penalty '{penalty}' needs"):
                cost(singles[name], seen[name])


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("penalty, kind", [("laplacian", "skinned"), ("variation", "voxels"), ("arap", "dynamic_gaussians"),
                                           ("smoothness", "dynamic_mesh"), ("crossing", "dmtet")])  # fmt: skip
def test_what_rounds_do_not_show_now_costs_nothing(penalty, kind, frozen):
    """Frozen objects are never shown alone; what no object could serve is a mistake once all have been seen."""
    made = scene({"box": LEFT}, {"box": RIGHT, "renderer": KINDS[kind], "frozen": frozen}, whole=0.25)
    cameras = dataclasses.replace(ring(3, size=16), time=torch.tensor([0.0, 0.5, 1.0]), views=3)
    served, cost = [], getattr(penalties, penalty)
    for index in range(4):
        render = made.render(cameras, step(index))
        served.append(any(name.startswith("1/") and name != "1/unseen" for name in render.extras))
        assert served[-1] or cost(made, render).item() == 0
        cost(made, render)
    assert served == ([False, False, False, True] if frozen else [False, True, False, True])
    with pytest.raises(Mistake, match="needs"):
        (penalties.variation if kind == "dmtet" else penalties.crossing)(made, made.render(cameras))


def test_lengths_of_what_moves_are_those_of_the_world():
    moves = KINDS["dynamic_mesh"]
    small, large = (scene({"box": {"centre": [0.0, 0.0, 0.0], "size": side}, "renderer": moves}) for side in (0.5, 1.0))
    small.parts[0].field.out.data += 0.2 * torch.randn(small.parts[0].field.out.shape, generator=torch.Generator().manual_seed(0))
    large.parts[0] = small.parts[0]
    cameras = dataclasses.replace(ring(3, size=16), time=torch.tensor([0.0, 0.5, 1.0]))
    for penalty in ("arap", "smoothness", "laplacian"):
        values = [getattr(penalties, penalty)(made, made.render(cameras)).item() for made in (small, large)]
        assert values[1] == pytest.approx(4 * values[0], rel=1e-3) and values[0] > 0  # square metres


def test_views_of_several_pictures_all_count_for_densification():
    """A set that is in the scene and also alone: `refine` is told of every view."""
    made = scene({"box": LEFT}, {"box": RIGHT, "renderer": BALL})
    cameras = dataclasses.replace(ring(3, size=16), subject=torch.tensor([0, -1, -1]))
    render = made.render(cameras, step())
    (render.rgb * torch.rand(render.rgb.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    told = []
    made.parts[0].refine = lambda render, optimizer, now: told.append(render.extras["means2d"])
    made.refine(render, Adam(), step())
    assert [tuple(x.shape) for x in told] == [(3, 40, 2)] and all(row.any() for row in told[0].grad)
