"""Rigs of one's own from files: what is spoilt is a mistake that names file and fix."""


import numpy as np
import pytest
from rig_files import written

from dream3d.errors import Mistake
from dream3d.rig.load import load


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
