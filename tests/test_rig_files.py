"""Bodies from files: SMPL's formula from scratch, pickles that are programs, and whatever else files may hold."""

import io
import math
import pickle
import zipfile

import numpy as np
import pytest
import torch
from rig_files import TREE, Ch, Select, model, pickled
from scipy import sparse

from dream3d.errors import Mistake
from dream3d.rig import bodies, kinematics
from dream3d.rig.load import load

# --- SMPL, SMPL-X, FLAME --------------------------------------------------------------------------------------------

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
    content = {**m, "J_regressor": sparse.csc_matrix(m["J_regressor"]), "shapedirs": Ch(m["shapedirs"]), "bs_style": "lbs",
               "posedirs": Select(Ch(m["posedirs"]), np.arange(m["posedirs"].size), m["posedirs"].shape), "f": m["f"].astype(">i4"),
               "weights": np.asfortranarray(m["weights"]), "names": ["a", np.float32(2)]}  # fmt: skip
    rig = load(str(pickled(tmp_path, content, protocol)))
    g = np.random.default_rng(1)
    betas, pose = g.normal(size=12), 0.8 * g.normal(size=(5, 3))
    made = kinematics.skinned(rig, *kinematics.shaped(rig, torch.from_numpy(betas)), kinematics.rotations(torch.from_numpy(pose)))
    assert np.abs(made.numpy() - formula({**m, "J_regressor": m["J_regressor"]}, betas, pose)).max() < 1e-12
    assert rig.expressions == 0 and torch.equal(rig.faces, torch.from_numpy(m["f"].astype(np.int64)))
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
    "all at one place": (spoilt(v_template=lambda a: 0 * a + 0.1), "all at one place"),
    "no length at all": (spoilt(v_template=lambda a: 1e-60 * a), "all at one place"),
    "lengths beyond all units": (spoilt(v_template=lambda a: 1e60 * a), "hold .*e.60, which is no length"),
    "shapes beyond all units": (spoilt(shapedirs=lambda a: 1e60 * a), "hold .*, which is no length"),
    "half a parent": (spoilt(kintree_table=lambda a: put(a.astype(float), (0, 2), 0.5)), "not whole numbers"),
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


def test_files_that_are_too_large_are_mistakes(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "model.npz", **model())
    path = pickled(tmp_path, model())
    monkeypatch.setattr(bodies, "BYTES", 3000)  # less than an array in the archive, which unpacks to more than it is
    for name in ("model.npz", path.name):
        with pytest.raises(Mistake, match="larger than"):
            load(str(tmp_path / name))
