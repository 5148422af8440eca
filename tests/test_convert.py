"""One scene learns to be another: what is compared and when, what is hard comes again, every pair."""

import dataclasses
import itertools
import math

import pytest
import torch
from convert_scenes import KINDS, RING, ball, decibels, learning, made
from dream3d.renderers import _fields, _handing

from dream3d import layout
from dream3d.cameras import Orbit, ring
from dream3d.convert.lesson import CLIP, density_gap, per_ray, stage
from dream3d.convert.pool import FORGET, Pool
from dream3d.convert.teacher import moving
from dream3d.errors import Mistake
from dream3d.types import Field, Step


@pytest.fixture(scope="module")
def teachers():
    """Every representation of the same ball, small; fits are short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_handing, "STEPS", 60)
        patch.setattr(_handing, "BATCH", 2048)
        patch.setattr(_fields, "FINE", 24)
        found = {}

        def one(kind: str):
            if kind not in found:
                found[kind] = made(kind)
                with torch.no_grad():
                    found[kind].init_from(ball())
            return found[kind]

        yield one


# --- what is compared ---------------------------------------------------------------------------------------------------------------


def test_stages_begin_at_their_milestones():
    assert [stage(p, (0.1, 0.4)) for p in (0.0, 0.099, 0.1, 0.39, 0.4, 1.0)] == [1, 1, 2, 2, 3, 3]
    assert stage(0.0, (0.0, 0.0)) == 3


def test_log_densities_are_clipped_and_nothing_is_lost_beyond_an_end():
    low, high = (math.exp(end) for end in CLIP)
    student = torch.tensor([1e-6, low / 9, 2.0, high * 5, high / math.e, low / math.e, high * math.e], requires_grad=True)
    teacher = torch.tensor([1e-9, low / 2, 2 * math.e, high * 50, high * 7, low * math.e, high / math.e])
    gap = density_gap(student, teacher)
    torch.testing.assert_close(gap, torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0, 4.0, 4.0]), atol=1e-4, rtol=1e-4)
    gap.sum().backward()
    assert (student.grad.sign() == torch.tensor([0.0, 0, -1, 0, -1, -1, 1])).all()


@pytest.mark.parametrize("density", [1e-29, 1e-20, 1e-13])
def test_densities_that_are_hardly_there_are_pulled_back(density):
    """As those of a narrow signed distance are, far from its surface; the pull is that of the logarithm."""
    logarithm = torch.tensor([math.log(density)], requires_grad=True)
    density_gap(logarithm.exp(), torch.ones(1)).sum().backward()
    assert logarithm.grad.item() == pytest.approx(2 * math.log(density), rel=1e-3)


def test_means_are_over_the_sections_of_a_ray():
    found = per_ray(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 3, 4)
    assert found.tolist() == [1.0, 0.0, 1.25]


def test_a_volume_beside_itself_is_equal_everywhere(teachers):
    teacher = teachers("voxels").eval()
    origin, way = (v.reshape(-1, 3) for v in ring(1, size=8).rays())
    both = teacher.beside(teacher, origin, way, Step.make(0, 10, 0))
    for one, other in (both.density, both.colour, both.rgb, both.alpha):
        assert torch.equal(one, other)
    assert both.density[0].max() > 10 and both.alpha[0].max() > 0.9


def test_beyond_its_own_cube_a_teacher_has_nothing():
    wide, small = (made("voxels", bound=bound, blob="none", sampling="stratified") for bound in (0.8, 0.4))
    for scene in (wide, small):
        scene.geometry_grid.data.fill_(1.0)
    origin, way = torch.tensor([[0.0, -3, 0], [0.6, -3, 0]]), torch.tensor([[0.0, 1, 0], [0.0, 1, 0]])
    both = wide.beside(small, origin, way, Step.make(0, 10, 0))
    assert both.alpha[1][1] == 0 and 0 < both.alpha[1][0] < both.alpha[0][0] and both.density[1][both.ray == 1].max() == 0


def test_first_densities_then_colours_then_what_is_shown(teachers, monkeypatch):
    student = made("voxels")
    system = learning(student, teachers("voxels"), monkeypatch, steps=30, milestones=(0.3, 0.6))
    moved = []
    for index in range(30):
        before = student.colour_grid.detach().clone()
        log = system.step(index)
        assert log.scalars["milestone"] == stage(index / 29, (0.3, 0.6))
        moved.append(not torch.equal(before, student.colour_grid))
    first = next(i for i in range(30) if i / 29 >= 0.3)
    assert not any(moved[:first]) and all(moved[first:])


def test_latents_and_other_kinds_are_compared_by_views(teachers, monkeypatch):
    for student in (made("gaussians"), made("voxels", features=4)):
        assert not learning(student, teachers("voxels"), monkeypatch).fields
        with pytest.raises(Mistake, match="only volumes of colours"):
            learning(student, teachers("voxels"), monkeypatch, how="fields")
    assert learning(made("nerf"), teachers("voxels"), monkeypatch).fields
    assert not learning(made("nerf"), teachers("voxels"), monkeypatch, how="views").fields


@pytest.mark.parametrize("shading", ["lambert", "textureless", {"albedo": 0.5, "lambert": 0.5}])
def test_by_views_nobody_learns_colours_that_make_up_for_lamps(shading, teachers, monkeypatch):
    for student in (made("mesh", shading=shading), made("dynamic_mesh", shading=shading, faces=80), made("nerf", shading=shading)):
        with pytest.raises(Mistake, match="make up for its lamps") as told:
            learning(student, teachers("mesh"), monkeypatch)
        assert "renderer.shading=albedo" in "\n".join(told.value.lines)
    assert learning(made("nerf", shading=shading), teachers("voxels"), monkeypatch).fields  # colours are asked for, not shown


@pytest.mark.parametrize("settings, fix", [({"type": "composed", "whole": 0.25}, "renderer.whole=1"),
                                           ({"type": "skinned", "poses": "random"}, "renderer.poses=rest"),
                                           ({"type": "skinned", "poses": "motion", "motion": "wave"}, "renderer.poses=rest")])  # fmt: skip
def test_by_views_nobody_is_seen_otherwise_than_the_teacher(settings, fix, teachers, monkeypatch):
    more = {"layout": {"objects": [{"name": "a"}, {"name": "b"}], "relations": ["a on b"]}, "object": {"type": "gaussians", "count": 20}}
    kind, given = settings["type"], {key: value for key, value in settings.items() if key != "type"}
    given |= build_complete(more, given) if kind == "composed" else {}
    with pytest.raises(Mistake) as told:
        learning(made(kind, **given), teachers("mesh"), monkeypatch)
    assert told.value.fix == fix
    same = given | ({"whole": 1.0} if kind == "composed" else {"poses": "rest"})
    assert not learning(made(kind, **same), teachers("mesh"), monkeypatch).fields


def build_complete(more: dict, given: dict) -> dict:
    """A layout with its places."""
    return {key: value for key, value in layout.complete({**more, **given}, "").items() if key in more}


def test_what_moves_inside_teaches_its_still_scene_and_that_is_said(teachers, monkeypatch):
    moves, more = made("dynamic_gaussians", count=20), {"object": {"type": "dynamic_gaussians", "count": 20}}
    two = {"objects": [{"name": "a"}, {"name": "b"}], "relations": ["a on b"]}
    inside = made("composed", **build_complete({"layout": two, **more}, {}))
    assert moving(moves) and moving(inside) and not moving(teachers("mesh"))
    assert moving(made("skinned", motion="wave")) and not moving(made("skinned"))
    assert ", its still scene) by views" in learning(made("gaussians"), moves, monkeypatch).about


def test_settings_that_nothing_reads_are_told(teachers, monkeypatch):
    by_fields = learning(made("voxels", resolution=8), teachers("voxels"), monkeypatch, depth=0.3, grid=32, rays=64).about
    by_views = learning(made("gaussians"), teachers("voxels"), monkeypatch, depth=0.3, rays=64, milestones=(0.1, 0.2)).about
    assert by_fields.endswith("by fields; without effect by fields and without merge: depth, grid")
    assert by_views.endswith("by views; without effect by views and without merge: rays, milestones")
    assert "without effect" not in learning(made("gaussians"), teachers("voxels"), monkeypatch).about


def test_a_scene_that_is_the_teachers_own_has_nothing_to_learn(teachers, monkeypatch):
    student = made("mesh")
    student.init_from(teachers("mesh").handover())
    first = learning(student, teachers("mesh"), monkeypatch, how="views").step(0)
    assert first.scalars["error/shown"] < 1e-6


def test_what_cannot_become_another_scene_says_so(teachers, monkeypatch):
    with pytest.raises(Mistake, match="plane is no scene"):
        learning(made("plane"), teachers("voxels"), monkeypatch)


# --- what is hard comes again ---------------------------------------------------------------------------------------------------------


def test_a_pool_keeps_what_is_hardest_and_forgets():
    pool, now = Pool(3, 1), Step.make(0, 10, 0)
    assert len(pool.draw(2, now)) == 0
    pool.learn(torch.tensor([[0.0], [1], [2], [3]]), torch.tensor([5.0, 1.0, float("nan"), 3.0]))
    assert pool.rows[:, 0].tolist() == [0, 3, 1] and pool.error.tolist() == [5, 3, 1]
    drawn = pool.draw(1, now)
    pool.learn(torch.tensor([[9.0]]), torch.tensor([0.0, 4.0]))  # what was drawn has been learnt
    assert len(pool.rows) == 3 and drawn[0, 0].item() not in pool.rows[:2, 0] and 9 in pool.rows[:, 0]
    kept = {row: error for row, error in zip(pool.rows[:, 0].tolist(), pool.error.tolist(), strict=True)}
    assert all(kept[row] == pytest.approx(FORGET * was) for row, was in ((0.0, 5), (3.0, 3), (1.0, 1)) if kept.get(row))
    other = Pool(3, 1)
    other.restore({k: v.clone() for k, v in pool.state().items()})
    assert torch.equal(other.rows, pool.rows) and torch.equal(other.draw(2, now), other.rows[other.drawn])
    nothing = Pool(0, 1)
    nothing.learn(torch.ones(2, 1), torch.ones(2))
    assert len(nothing.rows) == 0


def test_a_tenth_of_the_rays_comes_from_the_pool(teachers, monkeypatch):
    student, seen = made("voxels"), []
    system = learning(student, teachers("voxels"), monkeypatch, mined=0.25)
    real = student.beside
    monkeypatch.setattr(type(student), "beside", lambda self, *given: seen.append(given[1:3]) or real(*given))
    system.step(0)
    hardest = system.pool.rows.clone()
    system.step(1)
    rows = torch.cat(seen[1], 1)
    assert len(rows) == 256 and all((hardest == row).all(1).any() for row in rows[:64])
    assert not all((hardest == row).all(1).any() for row in rows[64:])


def test_hard_views_come_again(teachers, monkeypatch):
    system = learning(made("gaussians"), teachers("voxels"), monkeypatch, mined=0.5, cameras=Orbit(16, batch=2))
    system.step(0)
    system.mined = 1.0
    before = system.pool.rows.clone()
    cameras, fresh = system._again(system.cameras(Step.make(1, 20, 0)), Step.make(1, 20, 0))
    assert len(fresh) == 0 and torch.equal(cameras.to_world.flatten(1).sort(0).values, before[:, :16].sort(0).values)
    clip = dataclasses.replace(cameras, views=2)
    assert system._again(clip, Step.make(1, 20, 0)) == (clip, None)  # what belongs together stays together


def test_what_came_again_has_the_error_it_has_now_also_where_nothing_is_new(teachers, monkeypatch):
    """A batch of one view is a hard one now and then, and new at the other times."""
    system = learning(made("gaussians"), teachers("voxels"), monkeypatch, mined=0.5, cameras=Orbit(16, batch=1))
    real, again, sizes = system._again, [], []
    monkeypatch.setattr(system, "_again", lambda *given: again.append(real(*given)) or again[-1])
    for index in range(12):
        rows, before = system.pool.rows.clone(), system.pool.error.clone()
        system.step(index)
        sizes.append(len(system.pool.rows))
        if not len(again[-1][1]):
            assert torch.equal(rows.sort(0).values, system.pool.rows.sort(0).values)
            assert not torch.equal(before.sort().values, system.pool.error.sort().values), index  # forgotten or renewed
    none = sum(not len(fresh) for _, fresh in again)
    assert 2 <= none <= 9 and sizes[-1] == 12 - none


def test_all_from_the_pool_is_refused(teachers, monkeypatch):
    for mined in (0.51, 1.0):
        with pytest.raises(Mistake, match="at most half"):
            learning(made("gaussians"), teachers("voxels"), monkeypatch, mined=mined)


# --- every pair -----------------------------------------------------------------------------------------------------------------------


def closer(pair: str, teachers, monkeypatch, steps: int) -> tuple[float, float]:
    first, second = pair.split(":")
    student = made(second)
    system = learning(student, teachers(first), monkeypatch, steps)
    before = decibels(student, teachers(first))
    system.begin(None)
    for index in range(steps):
        assert not system.step(index).skipped
    return before, decibels(student, teachers(first))


@pytest.mark.parametrize("pair", RING)
def test_each_becomes_another(pair, teachers, monkeypatch):
    before, after = closer(pair, teachers, monkeypatch, 20 if pair.endswith(("gaussians", "mesh", "dmtet")) else 30)
    assert after > before + 1.5 and after > 15.5, (before, after)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [":".join(pair) for pair in itertools.product(KINDS, KINDS)])
def test_any_becomes_any(pair, teachers, monkeypatch):
    before, after = closer(pair, teachers, monkeypatch, 100)
    assert after > before + 1.5 and after > 15.5, (before, after)


def test_a_conversion_that_looks_less_alike_is_taken_back(teachers, monkeypatch):
    empty = Field(0.8, density=torch.full((9, 9, 9), 1e-3), rgb=torch.zeros(9, 9, 9, 3))
    student, teacher = made("voxels"), teachers("voxels")
    before, about = {k: v.clone() for k, v in student.state().items()}, learning(student, teacher, monkeypatch).about
    monkeypatch.setattr(type(teacher), "handover", lambda self: empty)
    system = learning(student, teacher, monkeypatch)
    system.begin(None)
    assert all(torch.equal(v, before[k]) for k, v in student.state().items())
    assert system.about == about + ", begun with nothing: converted it looked less alike"
    system.begin(empty)  # asked for by name it stays
    assert not torch.equal(student.geometry_grid, before["geometry_grid"])


def test_from_scratch_nothing_is_taken_over(teachers, monkeypatch):
    student = made("nerf")
    before = {k: v.clone() for k, v in student.state().items()}
    system = learning(student, teachers("voxels"), monkeypatch, start="nothing")
    system.begin(None)
    assert all(torch.equal(v, before[k]) for k, v in student.state().items())
    was = decibels(student, teachers("voxels"))
    for index in range(20):
        system.step(index)
    assert decibels(student, teachers("voxels")) > was + 0.5
