"""Meshes that move: at rest the still mesh, moved as known motions move it, kept whole by penalties, resumed to the bit."""

import dataclasses

import pytest
import torch
from dream3d.renderers.dynamic_gaussians import DynamicGaussians
from dream3d.renderers.dynamic_mesh import DynamicMesh
from dream3d.renderers.mesh import TriangleMesh
from dream3d.systems.text_to_3d import TextTo3D

from dream3d import config, penalties
from dream3d.api import execute
from dream3d.cameras import clips, ring
from dream3d.errors import Mistake
from dream3d.folder import Folder
from dream3d.interfaces import Representation
from dream3d.needs import check_needs
from dream3d.optim import Adam
from dream3d.types import Cameras, Field, Mesh, Points, Render, Step


def scene(faces: int = 80, **settings) -> DynamicMesh:
    return DynamicMesh(torch.Generator().manual_seed(0), faces=faces, **settings)


def stirred(made, amount: float = 0.1):
    """Every number of what moves it away from where it starts."""
    g = torch.Generator().manual_seed(1)
    for p in [p for part in (made.field, made.whole) if part is not None for p in part.parameters()]:
        p.data += amount * torch.randn(p.shape, generator=g)
    return made


def painted() -> Mesh:
    """A ball whose vertices differ in colour."""
    mesh = TriangleMesh(torch.Generator(), faces=320).handover()
    return dataclasses.replace(mesh, rgb=torch.rand(mesh.rgb.shape, generator=torch.Generator().manual_seed(3)))


def step(index: int = 0, total: int = 20) -> Step:
    return Step.make(index, total, 3)


def pull(made, seen: Cameras, index: int) -> None:
    """The gradient of a step against random colours."""
    render = made.render(seen, now := step(index))
    (render.rgb * torch.rand(render.rgb.shape, generator=now.rng)).sum().backward()


# --- at rest and in motion ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"field": "mlp"}, {"whole": "rigid"}, {"appearance": "texture", "texture": 32},
                                      {"features": 4}], ids=str)  # fmt: skip
def test_at_time_zero_it_is_the_still_mesh_to_the_bit(settings):
    """Whatever has been learnt, and to cameras without a time; at other times it is another."""
    made = stirred(scene(**settings))
    made.init_from(painted())
    still = TriangleMesh(torch.Generator().manual_seed(0), faces=80, **{k: v for k, v in settings.items() if k not in ("field", "whole")})
    still.init_from(painted())
    still.restore(made.still.state())
    seen = ring(3, size=24)
    for look in (seen, dataclasses.replace(seen, time=torch.zeros(3))):
        for name, buffer in still.render(seen).buffers().items():
            assert torch.equal(made.render(look).buffers()[name], buffer), name
    later = made.render(dataclasses.replace(seen, time=torch.full((3,), 0.5)))
    assert all(not torch.equal(b, still.render(seen).buffers()[name]) for name, b in later.buffers().items())


@pytest.mark.parametrize("cls", [DynamicGaussians, DynamicMesh])
@pytest.mark.parametrize("field", ["hexplane", "mlp"])
def test_nothing_moves_before_it_is_learnt(cls, field):
    made = cls(torch.Generator().manual_seed(0), field=field, whole="rigid")
    rows = made.render(clips(ring(2, size=16), 3)).rgb.unflatten(0, (2, 3))
    assert torch.equal(rows, rows[:, :1].expand_as(rows)) and rows.max() > 0


def test_rows_in_any_order_of_time_are_those_drawn_one_by_one():
    made = stirred(scene(whole="shift"))
    seen = dataclasses.replace(ring(5, size=20), time=torch.tensor([0.6, 0.0, 1.0, 0.6, 0.2]))
    together = made.render(seen)
    for i in range(5):
        for name, buffer in made.render(seen.at(torch.tensor([i]))).buffers().items():
            torch.testing.assert_close(together.buffers()[name][i : i + 1], buffer, atol=1e-5, rtol=1e-5)
    assert together.extras["moments"].tolist() == pytest.approx([0, 0.2, 0.6, 1]) and not together.extras["shift"][0].any()
    assert together.extras["shift"].shape == (4, *together.extras["rest"].shape)


def test_all_moments_of_a_clip_are_lit_alike():
    """Lamps and ways of shading are drawn by chance: once for a step, not once for a moment. What is drawn after them goes on."""
    shading = {"lambert": 0.5, "textureless": 0.5}
    for index in range(4):
        now, again = step(index), step(index)
        rows = scene(shading=shading).render(clips(ring(2, size=16), 3), now).rgb.unflatten(0, (2, 3))
        assert torch.equal(rows, rows[:, :1].expand_as(rows))
        scene(shading=shading).render(ring(2, size=16), again)
        assert torch.equal(now.uniform(2), again.uniform(2))


def test_a_colour_of_a_field_moves_with_the_surface():
    """A pushed mesh whose colours lie in space looks like the still one to a camera that is pushed as far."""
    made = scene(320, appearance="field", whole="shift", frozen=True)
    made.init_from(painted())
    made.whole.shift.data[:] = torch.tensor([0.25, 0.0, 0.1])
    seen = ring(3, size=32)
    to_world = seen.to_world.clone()
    to_world[:, :3, 3] += torch.tensor([0.25, 0.0, 0.1])
    moved = made.render(dataclasses.replace(seen, to_world=to_world, time=torch.ones(3)))
    torch.testing.assert_close(moved.rgb, made.render(seen).rgb, atol=2e-3, rtol=0)


# --- learning a motion ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"field": "hexplane"}, {"field": "mlp"}, {"whole": "shift"}], ids=str)
def test_a_steady_velocity_is_learnt_from_where_things_are(settings):
    """Of a ball that goes (0.3, -0.2, 0.1) m in its clip, seen at three moments: within 3 % at moments between them, at every vertex
    within 8 %."""
    made, optimizer, velocity = scene(frozen=True, **settings), Adam(), torch.tensor([0.3, -0.2, 0.1])
    rest = made.rest().detach()
    for i in range(200):
        moved = [(t, made.moved(rest, torch.tensor(t))[0]) for t in (1 / 3, 2 / 3, 1.0)]
        sum((place - rest - t * velocity).square().sum() for t, place in moved).backward()
        optimizer.step(made.groups(Step.make(i, 200, 0)))
    for t in (0.2, 0.5, 0.9):
        found = (made.moved(rest, torch.tensor(t))[0] - rest) / t
        assert (found.mean(0) - velocity).norm() < 0.03 * velocity.norm(), (t, found.mean(0))
        assert (found - velocity).norm(dim=1).mean() < 0.08 * velocity.norm()


@pytest.mark.parametrize("cls", [DynamicMesh, DynamicGaussians])
def test_a_sphere_is_followed_through_pictures(cls):
    """A ball's clip from three sides, 0.3 m to the right: fitted to its colours alone it is where it went within 5 % of the way, also at
    moments that were not seen."""
    rng = torch.Generator().manual_seed(0)
    if cls is DynamicMesh:
        made = DynamicMesh(rng, faces=320, radii=(0.3, 0.3, 0.3), frozen=True)
        made.init_from(dataclasses.replace(made.handover(), rgb=_stripes(made.handover().vertices)))
    else:
        made = DynamicGaussians(rng, count=300, radius=0.3, opacity=0.9, frozen=True)
        made.still.colour.data = _stripes(made.still.position.detach())
    seen, way, optimizer = clips(ring(3, size=24), 4), torch.tensor([0.3, 0.0, 0.0]), Adam()
    truth = _followed(made, seen, way)
    for i in range(80):
        render = made.render(seen)
        (render.rgb - truth.rgb).square().sum().backward()
        optimizer.step(made.groups(Step.make(i, 80, 0)))
    for time in (1.0, 0.8, 0.5):
        gone = made.render(dataclasses.replace(ring(1, size=8), time=torch.tensor([time]))).extras["shift"][0]
        assert (gone.mean(0) - time * way).norm() < 0.05 * time * 0.3, (time, gone.mean(0))


def _stripes(place):
    return 0.5 + 0.5 * torch.sin(8 * place)


def _followed(made: Representation, seen: Cameras, way) -> Render:
    """The still scene, to cameras that go the other way: what it would show if it went this way."""
    to_world = seen.to_world.clone()
    to_world[:, :3, 3] -= seen.time[:, None] * way
    with torch.no_grad():
        return made.render(dataclasses.replace(seen, to_world=to_world, time=None))


# --- optimising, saving, handing over -------------------------------------------------------------------------------


def test_a_gradient_reaches_both_and_a_frozen_mesh_stays_to_the_bit():
    for frozen in (False, True):
        made, optimizer = stirred(scene(frozen=frozen, whole="rigid")), Adam()
        before = {k: v.clone() for k, v in made.state().items()}
        pull(made, clips(ring(2, size=20), 3), 0)
        assert optimizer.step(made.groups(step()))
        changed = {k for k, v in made.state().items() if not torch.equal(v, before[k])}
        learnt = {f"{part}.{name}" for part in ("field", "whole") for name, _ in getattr(made, part).named_parameters()}
        assert learnt <= changed and any(k.startswith("still.") for k in changed) is not frozen
        assert not frozen or all(p.grad is None for p in made.still.parameters())


@pytest.mark.parametrize("cls", [DynamicGaussians, DynamicMesh])
@pytest.mark.parametrize("whole", ["none", "rigid"])
def test_penalties_reach_what_moves_and_not_what_rests(cls, whole):
    made = stirred(cls(torch.Generator().manual_seed(0), whole=whole))
    for name in ("arap", "smoothness"):
        made.zero_grad()
        getattr(penalties, name)(made, made.render(clips(ring(1, size=8), 4))).backward()
        assert made.field.out.grad.any(), name
        assert whole == "none" or name == "arap" or made.whole.turn.grad.any()
        assert all(p.grad is None or not p.grad.any() for p in made.still.parameters()), name


@pytest.mark.parametrize("cls", [DynamicGaussians, DynamicMesh])
def test_the_shift_that_penalties_read_is_that_of_what_is_drawn(cls):
    made = stirred(cls(torch.Generator().manual_seed(0), whole="rigid"))
    render, time = made.render(clips(ring(1, size=8), 3)), torch.tensor(1.0)
    rest = made.rest()
    place = made.moved(time)["still.position"] if cls is DynamicGaussians else made.moved(rest, time)[0]
    torch.testing.assert_close(render.extras["shift"][-1], place - rest)
    assert not render.extras["shift"][0].any()


@pytest.mark.parametrize("data", ["mesh", "points", "field"])
def test_it_starts_from_whatever_is_still_and_hands_it_over(data):
    axis = torch.linspace(-1, 1, 20)
    radius = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    ball = painted()
    still = {"mesh": ball, "points": DynamicGaussians(torch.Generator().manual_seed(0), count=400, opacity=0.9).handover(),
             "field": Field(1.0, density=60 * torch.sigmoid(20 * (0.5 - radius)))}[data]  # fmt: skip
    made = stirred(scene(settle=2, max_faces=600))
    made.init_from(still)
    handed = made.handover()
    assert isinstance(handed, Mesh) and 0.2 < handed.vertices.norm(dim=1).mean() < 0.9
    if data == "mesh":
        torch.testing.assert_close((handed.vertices, handed.rgb), (ball.vertices, ball.rgb), atol=1e-5, rtol=0)
    frames = made.render(clips(ring(1, size=16), 3)).rgb
    assert not torch.equal(frames[0], frames[2])
    assert isinstance(still, Mesh | Points | Field)


def test_time_and_memory_grow_with_the_rows_and_not_with_rows_times_moments():
    """A row is drawn at its own moment only: what is kept for the way back is proportional to the frames."""
    kept = []
    for frames in (3, 6, 12):
        made, sizes = stirred(scene(320)), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            made.render(clips(ring(1, size=24), frames))
        kept.append(sum(sizes))
    assert kept[2] - kept[1] == pytest.approx(2 * (kept[1] - kept[0]), rel=0.15)


def test_what_cannot_move_is_refused():
    for words, says in ((["cameras.frames=0"], "at least 1, but it is 0"), (["cameras.frames=4", "renderer.moments=0"], "at least 1"),
                        ([], "dynamic_mesh moves, but orbit cameras see one moment"),
                        (["cameras=reference"], "dynamic_mesh moves, but reference cameras see one moment"),
                        (["cameras={type: orbit, frames: 4}", "renderer.whole=rigd"], "rigid")):  # fmt: skip
        with pytest.raises(Mistake) as told:
            check_needs(config.load("sds-gaussian", ["renderer={type: dynamic_mesh}", *words]))
        assert says in "\n".join(told.value.lines), words
    check_needs(config.load("sds-gaussian", ["renderer=dynamic_mesh", "cameras={type: orbit, frames: 4}"]))


class Killed(BaseException):
    """Stands for kill -9."""


SMALL = ["steps=6", "prompt=a red car driving", "prior.size=16", "prior.others=2", "prior.instances=2",
         "keep={preview: 0, steps: 1, seconds: 0}", "export={mesh: false, frames: 2, size: 16}", "cameras.resolution=16"]  # fmt: skip


RUNS = [("{type: mesh, faces: 80}", "{type: dynamic_mesh, whole: rigid}"),
        ("{type: gaussians, count: 40}", "{type: dynamic_gaussians, field: mlp, whole: shift}")]  # fmt: skip


@pytest.mark.parametrize("still, renderer", RUNS, ids=["mesh", "gaussians"])
def test_a_run_that_is_killed_while_things_move_ends_as_one_that_was_not(still, renderer, tmp_path, monkeypatch):
    motion = ("guidance: {type: video_sds}, cameras: {type: orbit, batch: 1, frames: 3, resolution: 16}, "
              "penalties: {arap: 1, smoothness: 1}, prior: {type: exact_joint, frames: 3, size: 16, others: 2, instances: 2}")  # fmt: skip
    stages = f"stages=[{{share: 1}}, {{share: 2, renderer: {renderer}, {motion}}}]"

    def run(name: str) -> Folder:
        found = config.load("video_sds-gaussian", [*SMALL, f"renderer={still}", stages, f"out={tmp_path / name}"])
        return Folder(Folder.place(found), found)

    whole, real, count = execute(run("whole"), quiet=True), TextTo3D.step, [0]

    def dying(self, index):
        count[0] += 1
        if count[0] == 5:  # the third step of four that move
            raise Killed
        return real(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(TextTo3D, "step", dying)
        first = run("killed")
        with pytest.raises(Killed):
            execute(first, quiet=True)
        first.lock.release(force=True)
    again = execute(run("killed"), quiet=True)
    one, other = whole.scene.state(), again.scene.state()
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    assert one["whole.shift"].any()  # it has learnt something
