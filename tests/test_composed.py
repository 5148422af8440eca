"""Several objects in one scene: drawn as if they had never been several, placed, frozen, labelled, densified and resumed."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from composed_scenes import BALL, FEW, LEFT, RIGHT, WHOLE, paint, pull, same, scene, step, two
from dream3d.guidance.semantic_sds import SemanticSDS
from dream3d.renderers._compose_place import of_box, turned_harmonics
from dream3d.renderers.composed import Composed
from dream3d.renderers.gaussians import NAMES, Gaussians
from dream3d.renderers.mesh import TriangleMesh

from dream3d import build, penalties
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.optim import Adam
from dream3d.types import Condition, Embedding, Render, View

# --- drawing ----------------------------------------------------------------------------------------------------------------------


def test_sets_of_gaussians_are_one_set_to_the_bit():
    """In places that change nothing; what the sets share is their order of depth."""
    made = scene({"box": WHOLE}, {"box": WHOLE})
    for i, part in enumerate(made.parts):
        paint(part, i)
    joint = Gaussians(torch.Generator(), count=1)
    joint._replace({name: torch.cat([getattr(part, name).data for part in made.parts]) for name in NAMES})
    joint.label, joint.objects = torch.arange(2).repeat_interleave(40), torch.tensor(2)
    a, b = made.render(ring(4, size=32)), joint.render(ring(4, size=32))
    assert a.alpha.max() > 0.5 and a.buffers().keys() == b.buffers().keys()
    for name, buffer in a.buffers().items():
        assert torch.equal(buffer, b.buffers()[name]), name


@pytest.mark.parametrize("degrees", [(0, 0), (2, 1)])
def test_a_joint_render_of_what_is_handed_over_is_the_same(degrees):
    parts = [{**FEW, "sh_degree": degree} for degree in degrees]
    made = scene({"box": LEFT, "renderer": parts[0]}, {"box": RIGHT, "rotation": 70.0, "renderer": parts[1]})
    for i, part in enumerate(made.parts):
        paint(part, i)
        part.colour.data.clamp_(0.3, 0.7)
        part.harmonics.data.clamp_(-0.05, 0.05)  # what is handed over as colours is not clamped on the way
    joint = Gaussians(torch.Generator(), count=1, sh_degree=max(degrees))
    joint.init_from(made.handover())
    same(made.render(ring(4, size=32)), joint.render(ring(4, size=32)))


def test_meshes_are_one_mesh():
    made = two(common=BALL)
    made.boxes[1] = dataclasses.replace(made.boxes[1], centre=torch.tensor([-0.2, 0.0, 0.0]))  # into the other one
    joint = TriangleMesh(torch.Generator(), stiffness=0.0)
    joint.init_from(made.handover())
    a, b = made.render(ring(4, size=48)), joint.render(ring(4, size=48))
    same(a, b)
    assert (a.labels[..., :2].amax((0, 1, 2)) == 1).all()


@pytest.mark.parametrize("kind", [{**FEW, "sh_degree": 2}, BALL, {**BALL, "shading": "lambert"},
                                  {"type": "voxels", "resolution": 16, "samples": 24}], ids=str)  # fmt: skip
def test_an_object_at_its_place_is_what_moved_cameras_see_of_it(kind):
    made = scene({"box": RIGHT, "rotation": [20.0, -30.0, 70.0]}, common=kind)
    part, place = made.parts[0], made.places()[0]
    paint(part, 1)
    cameras = ring(3, size=32, elevation=30.0)
    seen, own = made.render(cameras), part.render(place.cameras(cameras))
    same(seen, own, "alpha", atol=1e-4)
    own = dataclasses.replace(own, normal=own.normal @ place.turn.T, depth=place.scale * own.depth)
    same(seen, own, "rgb", "normal", "depth", atol=2e-4)
    assert seen.alpha.max() > 0.5


def test_an_object_stands_in_its_box():
    made = scene({"box": {"centre": [0.2, 0.1, -0.3], "size": [0.3, 0.6, 0.2]}, "rotation": 90.0}, common={**FEW, "count": 4000})
    x = made.handover().position
    torch.testing.assert_close((x.amin(0) + x.amax(0)) / 2, torch.tensor([0.2, 0.1, -0.3]), atol=0.02, rtol=0)
    torch.testing.assert_close(x.amax(0) - x.amin(0), 0.8 * torch.tensor([0.6, 0.3, 0.2]), atol=0.02, rtol=0)  # a ball of 0.6 in 0.75


def test_opaque_objects_of_different_kinds_agree_with_a_joint_render():
    """Meshes with flat and smooth normals are layers of their own; drawn alike they are one mesh."""
    boxes = {"box": {"centre": [-0.2, 0.1, 0.0], "size": 0.8}}, {"box": {"centre": [0.25, -0.2, 0.1], "size": 0.6}}
    joint = scene(*boxes, common=BALL)
    layered = scene({**boxes[0], "renderer": {"smooth": False}}, boxes[1], common=BALL)
    for made in (joint, layered):
        for i, part in enumerate(made.parts):
            paint(part, i)
    a, b = joint.render(ring(6, size=48)), layered.render(ring(6, size=48))
    inside = torch.stack([((x.labels > 0.999) | (x.labels < 0.001)).all(-1) for x in (a, b)]).all(0)  # not where one ends
    for name in ("rgb", "alpha", "depth", "labels"):
        gap = (getattr(a, name) - getattr(b, name)).abs().amax(-1)
        assert gap[inside].max() < 1e-5 and (gap > 0.02).float().mean() < 0.005, name
    hidden = (a.labels[..., 0] == 0) & (joint.parts[0].render(joint.places()[0].cameras(ring(6, size=48))).alpha[..., 0] > 0.9)
    assert hidden.sum() > 30  # something was behind something


def test_layers_are_composited_by_depth_with_a_gradient_for_all():
    made = scene({"box": LEFT}, {"box": RIGHT, "renderer": {"type": "voxels", "resolution": 12, "samples": 16}},
                 {"box": {"centre": [0.0, 0.45, 0.0], "size": 0.5}, "renderer": BALL})  # fmt: skip
    render = made.render(ring(4, size=24), step())
    assert all(v.isfinite().all() for v in render.buffers().values()) and 0 <= render.alpha.min() <= render.alpha.max() <= 1
    torch.testing.assert_close(render.labels.sum(-1), torch.ones(4, 24, 24))
    torch.testing.assert_close(render.labels[..., 3:], 1 - render.alpha)
    (render.rgb * torch.rand(render.rgb.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    for group in made.groups(step()):
        if not group.name.endswith(("rotation", "offset")):
            assert group.tensor.grad is not None and group.tensor.grad.abs().max() > 0, group.name


def test_harmonics_turn_with_their_object():
    g = torch.Generator().manual_seed(0)
    turn = of_box({"box": {"centre": [0.0] * 3, "size": [1.5] * 3}, "rotation": [10.0, 50.0, -120.0]}).turn
    c = torch.randn(5, 15, 3, generator=g)
    d = torch.nn.functional.normalize(torch.randn(40, 3, generator=g), dim=-1)
    from dream3d.renderers._backends.project import harmonics

    told = torch.einsum("dk,nkc->dnc", harmonics(d, 3)[:, 1:], turned_harmonics(c, turn))
    torch.testing.assert_close(told, torch.einsum("dk,nkc->dnc", harmonics(d @ turn, 3)[:, 1:], c), atol=1e-4, rtol=1e-4)


# --- labels, frozen parts, rounds -----------------------------------------------------------------------------------------------------


def test_labels_are_shares_of_what_is_seen():
    labels = two().render(ring(4, size=24)).labels
    assert labels.shape[-1] == 3 and labels.min() >= 0
    torch.testing.assert_close(labels.sum(-1), torch.ones(4, 24, 24))
    front = labels[0].mean(0)  # seen from the front the first is at the left
    columns = torch.arange(24.0)[:, None]
    assert ((columns * front).sum(0) / front.sum(0))[0] < 11 < ((columns * front).sum(0) / front.sum(0))[1]


def test_what_is_frozen_gets_no_gradient_and_never_changes():
    made = scene({"box": LEFT, "frozen": True}, {"box": RIGHT}, {"box": WHOLE, "frozen": True, "renderer": BALL}, lr_place=Ramped)
    before = {k: v.clone() for k, v in made.state().items()}
    assert all(name.split(".")[0] in ("1", "shift", "turn", "size") for name in (group.name for group in made.groups(step())))
    optimizer = Adam()
    for i in range(8):
        pull(made, i, optimizer)
    after = made.state()
    assert all(p.grad is None or not p.grad.any() for k in (0, 2) for p in made.parts[k].parameters())
    assert all(torch.equal(after[k], before[k]) for k in before if k.startswith(("parts.0.", "parts.2.")))
    assert not torch.equal(after["parts.1.colour"], before["parts.1.colour"]) and made.shift[1].any() and not made.shift[[0, 2]].any()
    assert torch.equal(made.places()[0].centre, made.boxes[0].centre)


def test_rounds_show_objects_alone_in_their_own_frames():
    made = scene({"box": LEFT}, {"box": RIGHT}, {"box": LEFT, "frozen": True}, whole=0.25)
    cameras, subjects = ring(4, size=24), []
    for i in range(8):
        render = made.render(cameras, step(i, 8))
        whole = int((i + 1) * 0.25) > int(i * 0.25)
        if whole:
            same(render, made.render(cameras))
            continue
        subjects.append([int(row[..., :-1].sum((0, 1)).argmax()) for row in render.labels])
        for k, row in enumerate(render.labels):
            own = made.parts[subjects[-1][k]].render(cameras.at(torch.tensor([k])))
            torch.testing.assert_close(render.rgb[k : k + 1], own.rgb, atol=1e-5, rtol=1e-5)
            assert (row[..., :-1].sum((0, 1)) > 0).sum() == 1
    assert {0, 1} == {s for row in subjects for s in row} and len(subjects) == 6
    together = dataclasses.replace(cameras, views=4)  # a prior of groups sees one object
    assert len(set(made.render(together, step(0, 8)).labels[..., :-1].sum((1, 2)).argmax(-1).tolist())) == 1


def test_rounds_keep_step_with_the_prompts_of_semantic_sds():
    """The prompt of all is asked for exactly when all is shown."""
    made = scene({"box": LEFT}, {"box": RIGHT}, whole=0.3)
    for i in range(40):
        now = step(i, 40)
        labels = made.render(ring(2, size=16), now).labels
        shows_all = bool((labels[0, ..., :-1].sum((0, 1)) > 0).all())

        nothing = Embedding(torch.zeros(2, 1, 1))
        text = Condition({"region/0": nothing, "region/1": nothing})
        view = View(torch.zeros(2, 3, 8, 8), Render(labels[..., :3], labels[..., :1], labels[..., :1], labels=labels), ring(2), text)
        rows, _ = SemanticSDS._regions(SimpleNamespace(scene=0.3, grow=2), view, now)
        assert (rows == ["text"]) == shows_all, i


def test_cameras_may_say_which_object_they_show():
    made = two()
    cameras = dataclasses.replace(ring(3, size=24), subject=torch.tensor([1, -1, 0]))
    render = made.render(cameras)
    assert [(row[..., :-1].sum((0, 1)) > 0).tolist() for row in render.labels] == [[False, True], [True, True], [True, False]]
    torch.testing.assert_close(render.rgb[2:], made.parts[0].render(cameras.at(torch.tensor([2]))).rgb, atol=1e-5, rtol=1e-5)
    with pytest.raises(Mistake, match="cameras look at object 2, but the layout has 2"):
        made.render(dataclasses.replace(cameras, subject=torch.tensor([2, 0, 0])))


# --- optimising -------------------------------------------------------------------------------------------------------------------

Ramped = build.schedule.Ramp(0.01)
BUSY = {**FEW, "densify_from": 0.0, "densify_until": 1.0, "densify_every": 0.2, "densify_share": 0.2, "reset_every": 0.5}


def test_one_object_that_fills_the_world_learns_as_its_representation_alone():
    made, alone = scene({"box": WHOLE}, common=BUSY), build.make("renderers", BUSY, torch.Generator().manual_seed(0))
    optimizers = Adam(), Adam()
    for i in range(12):
        for which, optimizer in zip((made, alone), optimizers, strict=True):
            pull(which, i, optimizer)
    assert len(alone) > 45 and all(torch.equal(getattr(made.parts[0], name), getattr(alone, name)) for name in NAMES)


def test_sets_that_are_drawn_together_are_densified_by_their_own_gradients():
    made, now = two(common=BUSY), step(3)
    render = made.render(ring(3, size=24), now)
    (render.rgb * torch.rand(render.rgb.shape, generator=now.rng)).sum().backward()
    means = next(value for name, value in render.extras.items() if name == "0+1.means2d")
    made.refine(render, Adam(), now)
    for part, rows in zip(made.parts, means.grad.norm(dim=-1).sum(0).split(40), strict=True):
        torch.testing.assert_close(part.pull, rows)
        assert part.pull.any()


@pytest.mark.parametrize("settings", [{}, {"whole": 0.5, "lr_place": Ramped}], ids=str)
def test_a_scene_goes_on_bit_for_bit(settings):
    def fresh() -> Composed:
        return scene({"box": LEFT, "group": "a"}, {"box": RIGHT, "group": "a"}, {"box": WHOLE, "renderer": {**BALL, "remesh_every": 0.2}},
                     common=BUSY, **settings)  # fmt: skip

    made, optimizer = fresh(), Adam()
    for i in range(14):
        if i == 9:
            saved = {k: v.clone() for k, v in made.state().items()}, optimizer.state()
            saved = saved[0], {**saved[1], "moments": {n: {k: v.clone() for k, v in m.items()} for n, m in saved[1]["moments"].items()}}
        pull(made, i, optimizer)
    again, other = fresh(), Adam()
    again.restore(saved[0])
    other.restore(saved[1])
    for i in range(9, 14):
        pull(again, i, other)
    a, b = made.state(), again.state()
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    assert len(made.parts[0]) > 40 and len(made.parts[1]) > 40


def test_who_is_in_no_group_is_in_nobodys_whatever_it_is_called():
    made = scene({"box": LEFT, "group": "object 1"}, {"box": RIGHT}, {"box": LEFT, "group": "1"})
    assert made.group == [0, 1, 2]


def test_places_learn_and_groups_keep_together():
    made = scene({"box": LEFT, "group": "pair"}, {"box": RIGHT, "group": "pair"}, lr_place=Ramped)
    for i, part in enumerate(made.parts):
        paint(part, i)
    cameras, optimizer = ring(6, size=32), Adam()
    goal = scene({"box": LEFT, "group": "pair"}, {"box": RIGHT, "group": "pair"}, lr_place=Ramped)
    goal.restore({k: v.clone() for k, v in made.state().items()})
    with torch.no_grad():
        goal.shift += torch.tensor([[0.05, -0.04, 0.03]])
        goal.turn += 0.1
        goal.size += 0.08
        wanted = goal.render(cameras).rgb
    made.parts.requires_grad_(False)
    for i in range(60):
        now = step(i, 60)
        (made.render(cameras, now).rgb - wanted).square().sum().backward()
        optimizer.step([dataclasses.replace(group, lr=0.01 * (1 - i / 60)) for group in made.groups(now)])
    for name in ("shift", "turn", "size"):
        torch.testing.assert_close(getattr(made, name), getattr(goal, name), atol=0.01, rtol=0)
    before = (made.boxes[0].centre - made.boxes[1].centre).norm()
    after = (made.places()[0].centre - made.places()[1].centre).norm()
    torch.testing.assert_close(after / before, made.size.exp()[0])


def test_what_leaves_its_box_is_pulled_back():
    made = scene({"box": {"centre": [0.1, 0.0, 0.0], "size": 0.75}}, {"box": WHOLE, "frozen": True})
    part = made.parts[0]
    part.position.data.zero_()
    part.position.data[:2] = torch.tensor([[0.95, 0.0, -0.85], [0.0, -0.8, 0.0]])  # its frame ends at 0.75, and is half as large
    render = made.render(ring(1, size=16))
    loss = penalties.boxed(made, render)
    torch.testing.assert_close(loss, torch.tensor(0.5 * (0.2 + 0.1 + 0.05)))
    loss.backward()
    torch.testing.assert_close(part.position.grad[:2], 0.5 * torch.tensor([[1.0, 0.0, -1.0], [0.0, -1.0, 0.0]]))
    assert not part.position.grad[2:].any()
    with pytest.raises(Mistake, match="penalty 'boxed' needs 'outside'"):
        penalties.boxed(part, part.render(ring(1, size=16)))
