"""Rigs: how they bend against closed forms, SMPL's formula from scratch, our humanoid, motions, and whatever files may hold."""

import dataclasses
import io
import json
import math
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from scipy import sparse

from dream3d.errors import Mistake
from dream3d.export.decimate import closed
from dream3d.rig import humanoid, kinematics, own
from dream3d.rig.finer import chosen, finer
from dream3d.rig.load import bundled, load
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
    return own.read(written(tmp_path, arrays, said))


def written(tmp_path, arrays: dict, said: dict | str, name: str = "arm"):
    path = tmp_path / f"{name}.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path)
    path.with_suffix(".json").write_text(said if isinstance(said, str) else json.dumps(said))
    return path


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


# --- SMPL, SMPL-X, FLAME --------------------------------------------------------------------------------------------

TREE = [-1, 0, 1, 1, 1]


def model(seed: int = 0, *, columns: int = 20, parents=TREE, kind=np.float64) -> dict[str, np.ndarray]:
    """Numbers laid out as in these models' files, of 30 vertices."""
    g, v, j = np.random.default_rng(seed), 30, len(parents)
    weights = g.random((v, j)) ** 3
    regressor = g.random((j, v)) * (g.random((j, v)) < 0.2) + 1e-3
    return {"v_template": g.normal(size=(v, 3)).astype(kind), "f": g.integers(0, v, (20, 3)).astype(np.uint32),
            "shapedirs": 0.1 * g.normal(size=(v, 3, columns)), "posedirs": 0.05 * g.normal(size=(v, 3, 9 * (j - 1))),
            "J_regressor": regressor / regressor.sum(1, keepdims=True), "weights": weights / weights.sum(1, keepdims=True),
            "kintree_table": np.array([[2**32 - 1 if p < 0 else p for p in parents], range(j)], dtype=np.uint32)}  # fmt: skip


def formula(m: dict, betas: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """SMPL, equations 2 to 10, from scratch: homogeneous matrices, one joint after the other."""

    def rodrigues(w):
        angle = np.linalg.norm(w)
        k = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]]) / (angle or 1)
        return np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k

    turns = [rodrigues(w) for w in pose]
    shaped = m["v_template"] + m["shapedirs"] @ betas
    joints = m["J_regressor"] @ shaped
    posed = shaped + m["posedirs"] @ np.concatenate([(r - np.eye(3)).ravel() for r in turns[1:]])
    world = []
    for k, p in enumerate(TREE[: len(turns)]):
        here = np.eye(4)
        here[:3, :3], here[:3, 3] = turns[k], joints[k] - (joints[p] if p >= 0 else 0)
        world.append(here if p < 0 else world[p] @ here)
    out = np.zeros_like(posed)
    for k, matrix in enumerate(world):
        away = matrix.copy()
        away[:3, 3] -= matrix[:3, :3] @ joints[k]
        out += m["weights"][:, k : k + 1] * (posed @ away[:3, :3].T + away[:3, 3])
    return out


class Ch:
    """As chumpy's array pickles."""

    def __init__(self, x):
        self.x, self._dirty_vars = x, {"x"}


class Select:
    def __init__(self, a, idxs, preferred_shape):
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


Ch.__module__, Select.__module__ = "chumpy.ch", "chumpy.reordering"


def pickled(tmp_path, content, protocol: int = 2, name: str = "model.pkl"):
    """Pickled under the names that such files have; modules of these names are there only meanwhile."""
    import sys
    import types

    modules = {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": types.ModuleType("chumpy.ch"),
               "chumpy.reordering": types.ModuleType("chumpy.reordering")}  # fmt: skip
    modules["chumpy.ch"].Ch, modules["chumpy.reordering"].Select = Ch, Select
    sys.modules |= modules
    try:
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=protocol))
    finally:
        for module in modules:
            del sys.modules[module]
    return tmp_path / name


def test_smplx_files_bend_as_the_papers_formula_says(tmp_path):
    m, g = model(), np.random.default_rng(1)
    with_uv = {**m, "vt": g.random((40, 2)), "ft": g.integers(0, 40, (20, 3)), "part2num": np.array({"a": 1}, dtype=object)}
    np.savez(tmp_path / "SMPLX_NEUTRAL.npz", **with_uv)
    rig = load(str(tmp_path / "SMPLX_NEUTRAL.npz"))  # what is an object in it is not read
    betas, pose = g.normal(size=20), 0.8 * g.normal(size=(5, 3))
    made = kinematics.skinned(rig, *kinematics.shaped(rig, torch.from_numpy(betas)), kinematics.rotations(torch.from_numpy(pose)))
    assert np.abs(made.numpy() - formula(m, betas, pose)).max() < 1e-12
    assert rig.expressions == 10 and rig.shape_names[9:11] == ("shape_9", "expression_0") and rig.names[2] == "jaw"
    np.testing.assert_array_equal(rig.uv.numpy(), with_uv["vt"][with_uv["ft"]])
    world = rig.world(rig.vertices)
    assert float(world.abs().max()) == pytest.approx(0.7)
    up, towards = (rig.world(torch.eye(3, dtype=torch.float64)[k]) - rig.shift for k in (1, 2))
    torch.testing.assert_close(up / rig.scale, torch.tensor([0.0, 0, 1], dtype=torch.float64))  # y up becomes z up
    torch.testing.assert_close(towards / rig.scale, torch.tensor([0.0, -1, 0], dtype=torch.float64))


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_flame_and_smpl_files_are_read_without_running_them(tmp_path, protocol):
    m = model(2, columns=12)
    half = m["shapedirs"].reshape(-1)
    content = {**m, "J_regressor": sparse.csc_matrix(m["J_regressor"]), "shapedirs": Ch(m["shapedirs"]), "bs_style": "lbs",
               "posedirs": Select(Ch(m["posedirs"]), np.arange(m["posedirs"].size), m["posedirs"].shape), "f": m["f"].astype(">i4"),
               "weights": np.asfortranarray(m["weights"]), "names": ["a", np.float32(2)]}  # fmt: skip
    rig = load(str(pickled(tmp_path, content, protocol)))
    g = np.random.default_rng(1)
    betas, pose = g.normal(size=12), 0.8 * g.normal(size=(5, 3))
    made = kinematics.skinned(rig, *kinematics.shaped(rig, torch.from_numpy(betas)), kinematics.rotations(torch.from_numpy(pose)))
    assert np.abs(made.numpy() - formula({**m, "J_regressor": m["J_regressor"]}, betas, pose)).max() < 1e-12
    assert rig.expressions == 0 and torch.equal(rig.faces, torch.from_numpy(m["f"].astype(np.int64))) and len(half)
    rows = pickled(tmp_path, {**content, "J_regressor": sparse.csr_matrix(m["J_regressor"])}, protocol, "rows.pkl")
    torch.testing.assert_close(load(str(rows)).joints, rig.joints)


class Bomb:
    """What it does when it is unpickled freely."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def test_a_pickle_that_does_anything_else_is_refused_and_does_nothing(tmp_path):
    import os
    import subprocess

    target = tmp_path / "done"
    made = f"open({str(target)!r}, 'w')"
    for call, args in ((os.mkdir, (str(target),)), (subprocess.check_call, (["mkdir", str(target)],)), (eval, (made,)),
                       (getattr, ("a", "upper")), (np.load, (str(target),))):  # fmt: skip
        path = pickled(tmp_path, {**model(), "v_template": Bomb(call, *args)})
        with pytest.raises(Mistake, match="is no array|no pickle") as caught:
            load(str(path))
        assert "nothing of it was run" in caught.value.problem and caught.value.where == str(path)
        assert not target.exists()


HEAD = pickle.PROTO + b"\x02"
TRICKS = {  # programs, not data
    "the memo of a far number": HEAD + b"}r\xff\xff\xff\x7f.",
    "bytes that are not there": HEAD + pickle.BYTEARRAY8 + (2**45).to_bytes(8, "little") + b".",
    "text that is not there": HEAD + pickle.BINUNICODE8 + (2**60).to_bytes(8, "little") + b".",
    "the state of a class": HEAD + b"cnumpy\nndarray\n}b.",
    "a call of a class that is none": HEAD + b"})R.",
    "an extension": HEAD + pickle.EXT1 + b"\x01.",
    "an object by name": b"(inumpy\nndarray\n.",
    "nothing": b"",
    "no pickle": b"\x89PNG" * 20,
    "a number": HEAD + b"K\x01.",
    "an import": b"cposix\nsystem\n(S'true'\ntR.",
    "a name with dots": HEAD + b"cnumpy\nndarray.__class__\n.",
}


@pytest.mark.parametrize("name", TRICKS)
def test_broken_and_clever_pickles_are_mistakes(name, tmp_path):
    (tmp_path / "model.pkl").write_bytes(TRICKS[name])
    with pytest.raises(Mistake):
        load(str(tmp_path / "model.pkl"))


class Raw:
    """numpy's own words with other numbers."""

    def __init__(self, shape, kind, data, order=False):
        self.parts = shape, kind, data, order

    def __reduce__(self):
        shape, kind, data, order = self.parts
        make = np.zeros(1).__reduce__()[0]
        return make, (np.ndarray, (0,), b"b"), (1, shape, kind, order, data)


@pytest.mark.parametrize(
    "raw",
    [Raw((2**40, 3), np.dtype("f8"), b"12345678"), Raw((-1, 3), np.dtype("f8"), b"0" * 24), Raw((2,), np.dtype("O"), [1, 2]),
     Raw((1,), np.dtype("V8"), b"12345678"), Raw((1,), np.dtype([("a", "f4"), ("b", "f4")]), b"12345678"),
     Raw((2.5,), np.dtype("f8"), b"0" * 24)],
)  # fmt: skip
def test_arrays_that_say_more_than_they_have_are_mistakes(raw, tmp_path):
    with pytest.raises(Mistake, match="is no array"):
        load(str(pickled(tmp_path, {**model(), "v_template": raw})))


def spoilt(**changes) -> dict:
    m = model()
    return {k: v for k, v in {**m, **{k: c(m[k]) for k, c in changes.items()}}.items() if v is not None}


def put(array, place, value):
    array = array.copy()
    array[place] = value
    return array


BODIES = {
    "no weights": (spoilt(weights=lambda a: None), "has no weights"),
    "weights of sum two": (spoilt(weights=lambda a: 2 * a), "30 of 30 vertices do not sum to one"),
    "one vertex without weights": (spoilt(weights=lambda a: put(a, 7, 0)), "1 of 30 vertices do not sum to one .vertex 7"),
    "a negative weight": (spoilt(weights=lambda a: put(put(a, (3, 0), -0.5), (3, 1), 1.5)), "vertex 3 has the weight -0.5"),
    "a weight that is nan": (spoilt(weights=lambda a: put(a, (0, 0), np.nan)), "not made of finite numbers"),
    "a template that is infinite": (spoilt(v_template=lambda a: put(a, (2, 1), np.inf)), "not made of finite numbers"),
    "pose directions that are nan": (spoilt(posedirs=lambda a: put(a, (2, 1, 0), np.nan)), "pose directions are not finite"),
    "pose directions of other joints": (spoilt(posedirs=lambda a: a[..., :-9]), "pose directions have the shape"),
    "two joints too few": (spoilt(kintree_table=lambda a: a[:, :3]), "J_regressor has the shape"),
    "a parent that is missing": (spoilt(kintree_table=lambda a: put(a, (0, 3), 9)), "is joint 9, which is missing"),
    "a cycle": (spoilt(kintree_table=lambda a: put(put(a, (0, 1), 2), (0, 2), 1)), "make a cycle: neck < jaw < neck"),
    "no root": (spoilt(kintree_table=lambda a: put(a, (0, 0), 4)), "make a cycle"),
    "two roots": (spoilt(kintree_table=lambda a: put(a, (0, 3), 2**32 - 1)), "2 roots"),
    "joints in another order": (spoilt(kintree_table=lambda a: put(a, 1, [0, 2, 1, 3, 4])), "number the joints"),
    "faces of vertices that are missing": (spoilt(f=lambda a: put(a, (0, 0), 30)), "faces name vertices"),
    "no faces": (spoilt(f=lambda a: a[:0]), "no faces"),
    "a flat template": (spoilt(v_template=lambda a: a.ravel()), "has the shape"),
    "shape directions of others": (spoilt(shapedirs=lambda a: a[:7]), "shapedirs has the shape"),
    "a regressor of no means": (spoilt(J_regressor=lambda a: 3 * a), "sums to 3, not to one"),
    "text": (spoilt(v_template=lambda a: a.astype("U8")), "no array of numbers|holds"),
    "complex numbers": (spoilt(weights=lambda a: a.astype(complex)), "no array of numbers|holds"),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("kind", ["npz", "pkl"])
def test_spoilt_bodies_are_mistakes_that_name_file_and_fix(name, kind, tmp_path):
    content, expected = BODIES[name]
    path = tmp_path / f"model.{kind}"
    if kind == "npz":
        np.savez(path, **content)
    else:
        pickled(tmp_path, content)
    with pytest.raises(Mistake, match=expected) as caught:
        load(str(path))
    assert caught.value.where == str(path) and caught.value.fix and len(caught.value.lines) <= 5 and path.name in caught.value.problem


def test_an_npz_that_lies_about_itself_is_a_mistake(tmp_path):
    def npz(name: str, **members: bytes):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for key, data in members.items():
                archive.writestr(f"{key}.npy", data)
        return str(tmp_path / name)

    def npy(array) -> bytes:
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        return file.getvalue()

    good = {key: npy(value) for key, value in model().items()}
    assert len(load(npz("good.npz", **good)).names) == 5
    lie = good["v_template"].replace(b"(30, 3)", b"(3000000000000, 3)")
    lie = lie.replace(b" " * 11 + b"\n", b"\n")  # the header keeps its length
    for name, member, expected in (("objects", npy(np.array([{}], dtype=object)), "holds objects"), ("lie", lie, "says|no array"),
                                   ("cut", good["v_template"][:-8], "says that it has"), ("none", b"hello", "no array")):  # fmt: skip
        with pytest.raises(Mistake, match=expected):
            load(npz(f"{name}.npz", **{**good, "v_template": member}))
    (tmp_path / "zip.npz").write_bytes(b"PK\x03\x04" + b"0" * 50)
    with pytest.raises(Mistake, match="no .npz file"):
        load(str(tmp_path / "zip.npz"))


# --- rigs of one's own ----------------------------------------------------------------------------------------------


def parts(**changes) -> tuple[dict, dict]:
    """Four points and two joints, with something changed: tensors by name, JSON by `said`."""
    arrays = {"vertices": np.array([[0.0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]), "faces": np.array([[0, 1, 2], [0, 2, 3]]),
              "joints": np.zeros((2, 3)), "weights": np.full((4, 2), 0.5)}  # fmt: skip
    said = {"joints": [{"name": "a", "parent": None}, {"name": "b", "parent": "a"}], **changes.pop("said", {})}
    return {k: v for k, v in {**arrays, **changes}.items() if v is not None}, said


JOINTS = [{"name": "a", "parent": None}, {"name": "b", "parent": "a"}]
OWN = {
    "no vertices": (parts(vertices=None), "no tensor 'vertices'"),
    "no weights": (parts(weights=None), "no tensor 'weights'"),
    "weights of one vertex too few": (parts(weights=np.full((3, 2), 0.5)), "weights have the shape"),
    "weights below zero": (parts(weights=np.array([[2.0, -1]] * 4)), "has the weight -1"),
    "weights of sum 0.9": (parts(weights=np.full((4, 2), 0.45)), "4 of 4 vertices do not sum to one"),
    "weights of a missing joint": (parts(weights=None, weight=np.ones((4, 1)), weight_joint=np.full((4, 1), 2)), "joint 2, which is"),
    "a parent that is missing": (parts(said={"joints": [JOINTS[0], {"name": "b", "parent": "hip"}]}), "'hip', which is missing"),
    "a cycle": (parts(said={"joints": [{"name": "a", "parent": "b"}, {"name": "b", "parent": "a"}]}), "cycle: a < b < a"),
    "its own parent": (parts(said={"joints": [JOINTS[0], {"name": "b", "parent": "b"}]}), "cycle: b < b"),
    "two of a name": (parts(said={"joints": [JOINTS[0], {"name": "a", "parent": "a"}]}), "two joints are called 'a'"),
    "no joints": (parts(said={"joints": []}), "lists no joints"),
    "a joint too many": (parts(said={"joints": [*JOINTS, {"name": "c", "parent": "a"}]}), "joints have"),
    "a joint without a name": (parts(said={"joints": [{"parent": None}]}), "has no name"),
    "an unknown key": (parts(said={"joint": []}), "unknown key 'joint'"),
    "shapes without directions": (parts(said={"shapes": ["tall"]}), "shape directions have the shape"),
    "limits that are crossed": (parts(said={"joints": [JOINTS[0], {**JOINTS[1], "low": [9, 0, 0], "high": [0, 0, 0]}]}), "above its high"),
    "limits of two": (parts(said={"joints": [JOINTS[0], {**JOINTS[1], "low": [9, 0]}]}), "three angles"),
    "1001 joints": (parts(said={"joints": [{"name": str(k), "parent": None} for k in range(1001)]}), "more than 1000"),
    "vertices that are not finite": (parts(vertices=np.full((4, 3), np.nan)), "not finite numbers"),
    "faces that are fractions": (parts(faces=np.array([[0, 1, 2.5]])), "not whole numbers"),
    "up is x": (parts(said={"up": "x"}), "neither y nor z"),
}


@pytest.mark.parametrize("name", OWN)
def test_spoilt_rigs_of_ones_own_are_mistakes(name, tmp_path):
    (arrays, said), expected = OWN[name]
    path = written(tmp_path, arrays, said)
    with pytest.raises(Mistake, match=expected) as caught:
        load(str(path))
    assert caught.value.where.startswith(str(tmp_path)) and caught.value.fix and len(caught.value.lines) <= 5


def test_files_that_are_no_rigs_are_mistakes(tmp_path):
    (arrays, said), path = parts(), tmp_path / "a.safetensors"
    with pytest.raises(Mistake, match="there is no rig 'humanoyd'") as caught:
        load("humanoyd")
    assert "humanoid" in caught.value.near
    written(tmp_path, arrays, '{"joints": [', "a")
    with pytest.raises(Mistake, match="no JSON: line 1"):
        load(str(path))
    written(tmp_path, arrays, "[" * 100_000, "a")
    with pytest.raises(Mistake, match="no JSON"):
        load(str(path))
    path.with_suffix(".json").unlink()
    with pytest.raises(Mistake, match="has no a.json beside it"):
        load(str(path))
    written(tmp_path, arrays, said, "a")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(Mistake, match="no safetensors file"):
        load(str(path))
    (tmp_path / "a.fbx").write_bytes(b"x")
    with pytest.raises(Mistake, match="no kind that rigs are read from"):
        load(str(tmp_path / "a.fbx"))


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
