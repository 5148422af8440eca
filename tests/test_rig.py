"""Rigs: how they bend against closed forms, our humanoid, and motions."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from rig_files import written
from safetensors.numpy import save_file

from dream3d.errors import Mistake
from dream3d.export.decimate import closed
from dream3d.rig import humanoid, kinematics, own
from dream3d.rig.find import bundled
from dream3d.rig.finer import chosen, finer
from dream3d.rig.load import load
from dream3d.rig.motion import motion


@pytest.fixture(scope="module")
def doll():
    return load("humanoid")


def turned(rig, **degrees):
    """Rotations with some joints turned."""
    angles = torch.zeros(len(rig.names), 3, dtype=torch.float64)
    for name, angle in degrees.items():
        angles[rig.names.index(name)] = torch.tensor(angle, dtype=torch.float64) * math.pi / 180
    return kinematics.rotations(angles)


# --- rotations ------------------------------------------------------------------------------------------------------


def test_rotations_are_those_of_the_exponential_with_their_derivative_also_at_zero():
    g = torch.Generator().manual_seed(0)
    way = torch.randn(6, 3, generator=g, dtype=torch.float64)
    angles = torch.cat([way * size for size in (0, 1e-9, 1e-4, 8e-3, 1.2e-2, 1.0, 3.0)]).requires_grad_()
    made = kinematics.rotations(angles)
    torch.testing.assert_close(made, torch.linalg.matrix_exp(kinematics._cross(angles)), atol=1e-12, rtol=0)
    assert torch.equal(kinematics.rotations(torch.zeros(2, 3)), torch.eye(3).expand(2, 3, 3))
    assert torch.autograd.gradcheck(kinematics.rotations, angles[::5].detach().requires_grad_(), atol=1e-6)
    torch.testing.assert_close(kinematics.matrices(kinematics.quaternion(angles)), made, atol=1e-12, rtol=0)


def test_quaternions_of_matrices_and_their_products():
    """Also half turns, where w is 0."""
    g = torch.Generator().manual_seed(1)
    angles = torch.cat([2 * torch.randn(50, 3, generator=g, dtype=torch.float64), math.pi * torch.eye(3, dtype=torch.float64)])
    turns = kinematics.rotations(angles)
    torch.testing.assert_close(kinematics.matrices(kinematics.quaternions(turns)), turns, atol=1e-9, rtol=0)
    both = kinematics.product(kinematics.quaternions(turns), kinematics.quaternions(turns.flip(0)))
    torch.testing.assert_close(kinematics.matrices(both), turns @ turns.flip(0), atol=1e-9, rtol=0)
    assert torch.autograd.gradcheck(lambda a: kinematics.quaternions(kinematics.rotations(a)), angles[:5].clone().requires_grad_())


def test_between_two_quaternions_it_is_a_steady_turn_the_shorter_way():
    q = kinematics.quaternion(torch.tensor([[0.0, 0, 0], [0, 0, 2.0]], dtype=torch.float64))
    for sign in (1, -1):
        half = kinematics.between(q[:1], sign * q[1:], 0.25)
        torch.testing.assert_close(kinematics.matrices(half)[0], kinematics.rotations(torch.tensor([0, 0, 0.5], dtype=torch.float64)))


# --- skinning -------------------------------------------------------------------------------------------------------


def arm(tmp_path, *, blend: bool = False):
    """Two bones along x, each 1 m long, points on them; with `blend` the points around the elbow belong to both."""
    x = np.linspace(0, 2, 21)
    vertices = np.stack([x, 0 * x, np.where(np.arange(21) % 2, 0.1, 0.0)], 1)
    share = np.clip((x - 0.8) / 0.4, 0, 1) if blend else (x > 1).astype(float)
    faces = np.stack([np.arange(19), np.arange(1, 20), np.arange(2, 21)], 1)
    joints, weights = np.array([[0.0, 0, 0], [1, 0, 0]]), np.stack([1 - share, share], 1)
    arrays = {"vertices": vertices, "faces": faces, "joints": joints, "weights": weights}
    said = {"joints": [{"name": "upper", "parent": None}, {"name": "lower", "parent": "upper"}]}
    return own.read(written(tmp_path, arrays, said)).rig()


@pytest.mark.parametrize("first, second", [(0, 0), (30, 0), (0, 75), (40, -110), (-200, 50)])
def test_a_two_bone_arm_is_where_trigonometry_says(tmp_path, first, second):
    """Shoulder at 0, elbow at 1: a point at x on the upper arm is at x (cos a, sin a), one on the lower at (cos a, sin a) + (x - 1)
    (cos (a + b), sin (a + b)); heights stay."""
    rig = arm(tmp_path)
    made = kinematics.skinned(rig, rig.vertices, rig.joints, turned(rig, upper=(0, 0, first), lower=(0, 0, second)))
    a, b = math.radians(first), math.radians(first + second)
    x = np.linspace(0, 2, 21)
    upper = np.stack([x * math.cos(a), x * math.sin(a)], 1)
    lower = np.stack([math.cos(a) + (x - 1) * math.cos(b), math.sin(a) + (x - 1) * math.sin(b)], 1)
    expected = np.concatenate([np.where((x > 1)[:, None], lower, upper), rig.vertices[:, 2:].numpy()], 1)
    assert np.abs(made.numpy() - expected).max() < 1e-9
    assert rig.scale == pytest.approx(0.7) and np.abs(rig.world(rig.vertices).numpy()).max() == pytest.approx(0.7)  # 2 m fit


def test_blended_points_are_weighted_means(tmp_path):
    rig = arm(tmp_path, blend=True)
    made = kinematics.skinned(rig, rig.vertices, rig.joints, turned(rig, lower=(0, 0, 90)))
    k = 10  # x = 1.0, halfway
    assert rig.weights[k].tolist() == pytest.approx([0.5, 0.5])
    np.testing.assert_allclose(made[k].numpy(), [1, 0, rig.vertices[k, 2]], atol=1e-12)
    k = 11  # x = 1.1: a quarter stays, three quarters have turned to (1, 0.1)
    np.testing.assert_allclose(made[k].numpy()[:2], [0.25 * 1.1 + 0.75 * 1.0, 0.75 * 0.1], atol=1e-12)


def test_at_rest_nothing_moves_to_the_bit_and_bending_can_be_undone(doll):
    for rig in (doll, doll.to(torch.float32)):
        made = kinematics.skinned(rig, rig.vertices, rig.joints, turned(rig).to(rig.vertices))
        assert torch.equal(made, rig.vertices)
    g = torch.Generator().manual_seed(3)
    turns = kinematics.rotations(0.5 * torch.randn(len(doll.names), 3, generator=g, dtype=torch.float64))
    made = kinematics.skinned(doll, doll.vertices, doll.joints, turns)
    assert (made - doll.vertices).norm(dim=1).max() > 0.2
    torch.testing.assert_close(kinematics.unskinned(doll, made, doll.joints, turns), doll.vertices, atol=1e-9, rtol=0)


def test_a_turn_of_the_root_turns_all(doll):
    turns = turned(doll, hips=(20, -70, 40))
    whole = turns[doll.names.index("hips")]
    made = kinematics.skinned(doll, doll.vertices, doll.joints, turns)
    torch.testing.assert_close(made, (doll.vertices - doll.joints[0]) @ whole.T + doll.joints[0], atol=1e-12, rtol=0)


# --- the humanoid ---------------------------------------------------------------------------------------------------


def test_our_humanoid_is_a_closed_doll_of_the_promised_size(doll):
    path = bundled()["humanoid"]
    assert path.stat().st_size + path.with_suffix(".json").stat().st_size < 300_000
    assert 1500 <= len(doll.vertices) <= 3000 and 16 <= len(doll.names) <= 20 and 3 <= len(doll.shape_names) <= 6
    assert closed(doll.faces) and doll.vertices.abs().max() <= 0.75 and doll.scale == 1
    a, b, c = doll.vertices[doll.faces].unbind(1)
    assert float((torch.linalg.cross(a, b) * c).sum()) > 0  # outwards
    low, high = doll.vertices.amin(0), doll.vertices.amax(0)
    assert high[2] - low[2] > 1.3 and float(low[0] + high[0]) == 0
    nose = doll.vertices[(doll.vertices[:, 2] - 0.525).abs() < 0.02]
    assert -nose[:, 1].min() > nose[:, 1].max() + 0.03  # looks towards -y
    assert all(f"{side}_{part}" in doll.names for side in ("left", "right") for part in ("shoulder", "elbow", "hip", "knee"))
    assert doll.joints[doll.names.index("left_wrist")][0] > 0.3


def test_its_weights_are_smooth_and_sum_to_one(doll):
    torch.testing.assert_close(doll.weights.sum(1), torch.ones(len(doll.vertices), dtype=torch.float64), atol=1e-12, rtol=0)
    assert doll.weights.min() >= 0 and (doll.weights > 0).sum(1).max() <= 4 and (doll.weights.amax(0) > 0.5).all()
    sides = torch.stack([doll.faces, doll.faces.roll(-1, 1)], -1).flatten(0, 1)
    assert (doll.weights[sides[:, 0]] - doll.weights[sides[:, 1]]).abs().max() < 0.45


def test_its_mirror_image_is_itself(doll):
    mirror = torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    near = torch.cdist(doll.vertices * mirror, doll.vertices)
    index = near.argmin(1)
    assert near.amin(1).max() == 0
    swap = [doll.names.index(n.replace("left", "?").replace("right", "left").replace("?", "right")) for n in doll.names]
    torch.testing.assert_close(doll.weights[index], doll.weights[:, swap], atol=1e-6, rtol=0)
    torch.testing.assert_close(doll.limits[swap][:, 0, 0], doll.limits[:, 0, 0])
    torch.testing.assert_close(doll.limits[swap][:, 1, 1:], -doll.limits[:, 0, 1:])


def test_its_shapes_do_what_they_are_called(doll):
    """A coefficient of 1: the doll is taller, wider, has a larger head, longer legs, longer arms; joints go along."""

    def measures(**shape):
        c = torch.tensor([float(shape.get(name, 0)) for name in doll.shape_names], dtype=torch.float64)
        v, j = kinematics.shaped(doll, c)
        head = v[doll.weights[:, doll.names.index("head")] > 0.99]
        limb = {part: j[doll.names.index(f"left_{part}")] for part in ("hip", "ankle", "shoulder", "wrist")}
        trunk = v[doll.weights[:, [doll.names.index(n) for n in ("hips", "spine", "chest")]].sum(1) > 0.99]
        return {"height": float(v[:, 2].max() - v[:, 2].min()), "girth": float(trunk[:, 1].max() - trunk[:, 1].min()),
                "head": float(head[:, 0].max() - head[:, 0].min()), "legs": float((limb["hip"] - limb["ankle"]).norm()),
                "arms": float((limb["shoulder"] - limb["wrist"]).norm())}  # fmt: skip

    still = measures()
    for name in doll.shape_names:
        assert 1.08 < measures(**{name: 1})[name] / still[name] < 1.25, name
    assert measures(arms=1)["height"] == pytest.approx(still["height"], abs=1e-3)
    assert measures(head=1)["legs"] == pytest.approx(still["legs"], abs=1e-3)


def test_the_script_makes_the_files_that_are_there(tmp_path):
    humanoid.main(str(tmp_path))
    for suffix in (".safetensors", ".json"):
        path = bundled()["humanoid"].with_suffix(suffix)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), suffix


def test_a_finer_rig_looks_and_bends_as_before(doll):
    fine, turns = finer(doll), turned(doll, left_elbow=(-60, 0, 0), head=(0, 0, 30))
    assert len(fine.faces) == 4 * len(doll.faces) and closed(fine.faces)
    made, before = (kinematics.skinned(rig, rig.vertices, rig.joints, turns) for rig in (fine, doll))
    torch.testing.assert_close(made[: len(before)], before, atol=1e-12, rtol=0)
    torch.testing.assert_close(fine.weights.sum(1), torch.ones(len(fine.vertices), dtype=torch.float64))
    few = chosen(doll, 2, 5)
    assert few.shape_names == doll.shape_names[:2] and few.shapes.shape[-1] == few.joint_shapes.shape[-1] == 2


# --- motions --------------------------------------------------------------------------------------------------------


def test_built_in_motions_are_smooth_within_the_limits_and_begin_where_they_end(doll):
    low, high = doll.limits.unbind(1)
    for name in ("wave", "walk"):
        played = motion(name, doll)
        rows = [played.at(t)[0] for t in np.linspace(0, 1, 101).tolist()]
        assert all((kinematics.matrices(a) - kinematics.matrices(b)).abs().max() < 0.45 for a, b in zip(rows[1:], rows, strict=False))
        torch.testing.assert_close(kinematics.matrices(rows[0]), kinematics.matrices(rows[-1]), atol=1e-9, rtol=0)
        joints = list(played.joints)
        bound = torch.maximum(low[joints].abs(), high[joints].abs()).norm(dim=1)
        assert all((2 * torch.atan2(row[:, 1:].norm(dim=1), row[:, 0].abs()) <= bound + 1e-6).all() for row in rows)
    rest, _ = motion("wave", doll).at(0.0)
    torch.testing.assert_close(rest, torch.eye(4, dtype=torch.float64)[:1].expand(len(rest), 4))


def test_a_wave_lifts_the_right_hand_above_the_head(doll):
    played, turns = motion("wave", doll), turned(doll)
    hand = doll.weights[:, doll.names.index("right_wrist")] > 0.9
    quaternions, _ = played.at(0.5)
    turns[list(played.joints)] = kinematics.matrices(quaternions)
    made = kinematics.skinned(doll, doll.vertices, doll.joints, turns)
    assert made[hand, 2].min() > doll.joints[doll.names.index("head")][2] and made[~hand, 0].max() < 0.5


def test_motions_from_files_turn_at_a_steady_pace(tmp_path, doll):
    said = {"rotations": {"left_elbow": [[0, 0, 0], [-90, 0, 0]]}, "times": [0.2, 0.6], "shift": [[0, 0, 0], [0, -0.4, 0]]}
    (tmp_path / "m.json").write_text(json.dumps(said))
    played = motion(str(tmp_path / "m.json"), doll)
    for time, angle in ((0.0, 0), (0.2, 0), (0.4, -45), (0.5, -67.5), (0.6, -90), (1.0, -90)):
        turn, shift = played.at(time)
        expected = kinematics.rotations(torch.tensor([[math.radians(angle), 0, 0]], dtype=torch.float64))
        torch.testing.assert_close(kinematics.matrices(turn), expected, atol=1e-9, rtol=0)
        assert float(shift[1]) == pytest.approx(-0.4 * angle / -90)
    turns = 0.3 * np.random.default_rng(0).normal(size=(3, len(doll.names), 3))
    save_file({"rotations": turns}, tmp_path / "m.safetensors")
    played = motion(str(tmp_path / "m.safetensors"), doll)
    made = kinematics.matrices(played.at(0.5)[0])
    torch.testing.assert_close(made, kinematics.rotations(torch.from_numpy(turns[1])), atol=1e-9, rtol=0)


def test_more_than_half_a_turn_is_turned_as_it_is_written(tmp_path, doll):
    """From 0 to 270 degrees over 135, a whole turn over 180, and back; up to 180 degrees the shorter way."""
    def angle(rows: list, time: float) -> float:
        neck = [[0, 0, 0], [0, 90, 0]] if len(rows) == 2 else [[0, 0, 0]] * len(rows)
        (tmp_path / "m.json").write_text(json.dumps({"rotations": {"head": [[0, 0, a] for a in rows], "neck": neck}}))
        turn = kinematics.matrices(motion(str(tmp_path / "m.json"), doll).at(time)[0])
        if len(rows) == 2:
            quarter = kinematics.rotations(torch.tensor([0.0, math.pi / 4, 0.0], dtype=torch.float64))
            torch.testing.assert_close(turn[1], quarter if time == 0.5 else turn[1])
        return math.degrees(math.atan2(turn[0, 1, 0], turn[0, 0, 0])) % 360

    assert angle([0, 270], 0.5) == pytest.approx(135) and angle([0, 270], 1.0) == pytest.approx(270)
    assert angle([0, 360], 0.25) == pytest.approx(90) and angle([0, 720], 0.25) == pytest.approx(180)
    assert angle([0, 360, 0], 0.375) == pytest.approx(270) and angle([0, -270], 0.5) == pytest.approx(225)
    assert angle([170, -170], 0.5) == pytest.approx(180) and angle([0, 180], 0.5) % 180 == pytest.approx(90)


MOTIONS = {
    "nothing": ("{}", "no rotations"),
    "no frames": ('{"rotations": {"head": []}}', "no moments"),
    "a joint that is missing": ('{"rotations": {"left_elbo": [[0, 0, 0]]}}', "no joint 'left_elbo'"),
    "frames that differ": ('{"rotations": {"head": [[0, 0, 0]], "neck": [[0, 0, 0], [0, 0, 0]]}}', "between 1 and 2 moments"),
    "two angles": ('{"rotations": {"head": [[0, 0]]}}', "no lists of"),
    "ragged": ('{"rotations": {"head": [[0, 0, 0], [0]]}}', "no list of numbers"),
    "words": ('{"rotations": {"head": [["a", 0, 0]]}}', "no list of numbers"),
    "nan": ('{"rotations": {"head": [[NaN, 0, 0]]}}', "not finite"),
    "times that fall": ('{"rotations": {"head": [[0, 0, 0], [1, 0, 0]]}, "times": [1, 0]}', "do not grow"),
    "times beyond one": ('{"rotations": {"head": [[0, 0, 0], [1, 0, 0]]}, "times": [0, 5]}', "from 0 to 5"),
    "too few times": ('{"rotations": {"head": [[0, 0, 0], [1, 0, 0]]}, "times": [0]}', "times have the shape"),
    "an unknown key": ('{"rotation": {}}', "unknown key 'rotation'"),
    "a huge number": ('{"rotations": {"head": [[' + "9" * 400 + ", 0, 0]]}}", "no list of numbers"),
    "no JSON": ("{", "no JSON"),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_spoilt_motions_are_mistakes(name, tmp_path, doll):
    text, expected = MOTIONS[name]
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(Mistake, match=expected) as caught:
        motion(str(tmp_path / "m.json"), doll)
    assert caught.value.where == str(tmp_path / "m.json") and caught.value.fix


def test_motions_of_other_rigs_are_mistakes(tmp_path, doll):
    with pytest.raises(Mistake, match="no motion 'wav'") as caught:
        motion("wav", doll)
    assert "wave" in caught.value.near
    with pytest.raises(Mistake, match="is of the humanoid; this rig has no joint 'right_shoulder'"):
        motion("wave", arm(tmp_path))
    with pytest.raises(Mistake, match="is of the humanoid; this rig is y up"):
        motion("walk", dataclasses.replace(doll, axes=torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)))
    save_file({"rotations": np.zeros((2, 5, 3))}, tmp_path / "m.safetensors")
    with pytest.raises(Mistake, match="this rig has 17 joints"):
        motion(str(tmp_path / "m.safetensors"), doll)
