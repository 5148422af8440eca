"""Skinned bodies are saved and resumed, handed over, started from, and made from the user's own files; wrong settings."""

import dataclasses
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from rig_files import model, pickled, written
from safetensors.numpy import save_file
from scipy import sparse
from skinned_scenes import ALL, coloured, scene, step

from dream3d import build, config
from dream3d.cameras import ring
from dream3d.errors import Mistake
from dream3d.export.asset import export
from dream3d.optim import Adam
from dream3d.options import Export
from dream3d.rig import find, moves
from dream3d.rig.load import load
from dream3d.schedule import Ramp
from dream3d.types import Field, Mesh, Points

WAYS = ({}, {"appearance": "texture", "texture": 32, "shading": "pbr"}, {"appearance": "field", "displace": "vector"},
        {"surface": "gaussians", "poses": "random"},
        {"poses": "motion", "motion": "walk", "shading": {"lambert": 0.5, "albedo": 0.5}})  # fmt: skip


@pytest.mark.parametrize("settings", WAYS)
def test_a_run_continues_to_the_bit(settings, tmp_path):
    settings = {**settings, **ALL} | ({"rig": str(body(tmp_path))} if "texture" in settings else {})  # quick to unwrap
    one, two, seen = scene(**settings), scene(**settings), ring(2, size=20)
    optimizers = Adam(), Adam()
    for index in range(4):
        if index == 2:
            two.restore({k: v.clone() for k, v in one.state().items()})
            optimizers[1].restore(optimizers[0].state())
            assert torch.equal(two.render(seen).rgb, one.render(seen).rgb)
        for made, optimizer in zip((one, two), optimizers, strict=True):
            if made is one or index >= 2:
                now = step(index)
                (made.render(seen, now).rgb * torch.rand(2, 20, 20, 3, generator=now.rng)).sum().backward()
                assert optimizer.step(made.groups(now))
    states = one.state(), two.state()
    assert states[0].keys() == states[1].keys() and all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def test_the_rig_stays_out_of_the_state_and_another_one_is_refused(tmp_path):
    made, other = scene(), scene(rig=str(body(tmp_path)))
    assert sum(v.numel() for k, v in made.state().items() if k.startswith("body.")) < 5 * len(made.body.vertices)
    with pytest.raises(Mistake, match="not the one that this run began with"):
        made.restore(other.state())


def body(folder):
    """A file laid out as SMPL-X is, of 5 joints, with expressions and pose directions."""
    np.savez(folder / "body.npz", **model())
    return folder / "body.npz"


def test_a_users_body_is_drawn_and_learns_its_expressions(tmp_path):
    made = scene(rig=str(body(tmp_path)), shapes=4, expressions=3, lr_expression=Ramp(0.1), pose={"jaw": (20, 0, 0)}, cuts=1)
    assert made.body.shape.shape == (4,) and made.body.expression.shape == (3,) and len(made.body.faces) == 80
    made.render(ring(2, size=24), step()).alpha.sum().backward()
    assert [g.name for g in made.groups(step())] == ["shape", "expression", "displacement", "colour"]
    assert made.body.expression.grad.abs().min() > 0 and made.vertices().abs().max() < 1.2
    with pytest.raises(Mistake, match="no joint 'left_elbow'"):
        scene(rig=str(body(tmp_path)), pose={"left_elbow": (0, 0, 0)})


POSE = {"left_knee": (60, 0, 0), "right_shoulder": (0, 80, 0)}


@pytest.mark.parametrize("surface", ["mesh", "gaussians"])
def test_a_stage_goes_on_from_what_it_handed_over(surface):
    """Shape, displacement and colours of an earlier stage, bent or not: the next one looks the same, whatever of them it learns."""
    before = coloured(scene(shape={"girth": 2.0, "arms": -1.0}, pose=POSE))
    before.body.displacement.data.normal_(0, 0.02, generator=torch.Generator().manual_seed(1))
    after = scene(surface=surface, pose=POSE)
    after.init_from(before.handover())
    torch.testing.assert_close(after.vertices(), before.vertices(), atol=1e-5, rtol=0)
    if surface == "mesh":
        torch.testing.assert_close(after.render(ring(3, size=32)).rgb, before.render(ring(3, size=32)).rgb, atol=1e-3, rtol=0)
    again = scene(surface=surface, pose=POSE)
    again.restore(after.state())
    assert torch.equal(again.vertices(), after.vertices())


@pytest.mark.parametrize("data", [Points(torch.zeros(3, 3), torch.zeros(3, 3)),
                                  Mesh(torch.eye(3), torch.tensor([[0, 1, 2]])), "field"])  # fmt: skip
def test_what_has_other_triangles_is_no_start(data):
    data = Field(1.0, density=torch.zeros(2, 2, 2)) if data == "field" else data
    with pytest.raises(Mistake, match="starts from a mesh with the 5") as caught:
        scene().init_from(data)
    assert caught.value.fix


def test_it_is_exported(tmp_path):
    small = Export(faces=300, texture=32, resolution=16, frames=2, size=32)
    with torch.no_grad():
        made = export(coloured(scene(pose=POSE)), tmp_path, small, extras={})
        made |= export(scene(surface="gaussians"), tmp_path / "g", dataclasses.replace(small, mesh=False), extras={})
    assert made.keys() == {"mesh", "health", "splats", "turntable", "thumbnail", "contact"}
    assert all(path.stat().st_size > 0 for path in made.values())


@pytest.mark.parametrize(("change", "problem"), [
    (lambda m: dataclasses.replace(m, vertices=torch.cat([m.vertices, m.vertices[:1]]), rgb=None), "not from one of 2725 vertices"),
    (lambda m: dataclasses.replace(m, vertices=m.vertices * float("nan")), "not from one whose vertices are not finite"),
])  # fmt: skip
def test_what_has_other_vertices_is_no_start(change, problem):
    made = scene()
    with pytest.raises(Mistake, match=problem):
        made.init_from(change(made.handover()))


def packed(folder, **members: bytes) -> str:
    """An archive as of a body, with some of its members other than they were."""
    np.savez(folder / "good.npz", **model())
    with zipfile.ZipFile(folder / "good.npz") as good, zipfile.ZipFile(folder / "bad.npz", "w") as archive:
        for name in good.namelist():
            archive.writestr(name, members.get(name.removesuffix(".npy"), good.read(name)))
    return str(folder / "bad.npz")


HEADER = b"{'descr': '<f8', 'shape': ("


def test_headers_that_do_not_close_and_strange_packings_are_mistakes(tmp_path):
    with pytest.raises(Mistake, match="v_template is no array"):
        load(packed(tmp_path, v_template=b"\x93NUMPY\x01\x00" + len(HEADER).to_bytes(2, "little") + HEADER))
    with pytest.raises(Mistake, match="f has the shape|faces have the shape"):
        np.savez(tmp_path / "scalar.npz", **{**model(), "f": np.int64(3)})
        load(str(tmp_path / "scalar.npz"))
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "lzma.npz", "w", zipfile.ZIP_LZMA) as archive:
        for name in good.namelist():
            archive.writestr(name, good.read(name))
    data = bytearray((tmp_path / "lzma.npz").read_bytes())
    data[60:90] = bytes(30)
    (tmp_path / "lzma.npz").write_bytes(data)
    with pytest.raises(Mistake, match="packed in a way that numpy does not write"):
        load(str(tmp_path / "lzma.npz"))


GOOD = {"vertices": np.eye(4, 3), "faces": np.array([[0, 1, 2]]), "joints": np.zeros((1, 3)), "weights": np.ones((4, 1))}
SHAPES = {
    "a scalar": ({"vertices": np.array(3.0)}, "its vertices have the shape"),
    "faces that are a scalar": ({"faces": np.array(3)}, "its faces have the shape"),
    "a million million of nothing": ({"vertices": np.zeros((10**12, 0)), "weight": np.zeros((10**12, 0)),
                                      "weight_joint": np.zeros((10**12, 0), dtype=np.int64)}, "its vertices have the shape"),
    "more vertices than fit": ({"vertices": np.zeros((500_001, 3), dtype=np.float16)}, "it has 500001 vertices and 1 joints"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_rigs_of_shapes_that_would_take_all_memory_are_mistakes(name, tmp_path):
    changes, problem = SHAPES[name]
    tensors = {k: v for k, v in {**GOOD, **changes}.items() if k != "weights" or "weight" not in changes}
    with pytest.raises(Mistake, match=problem):
        path = written(tmp_path, tensors, {"joints": [{"name": "a", "parent": None}]})
        save_file(tensors, path)  # a scalar stays one
        load(str(path))


def test_a_sparse_matrix_of_a_few_bytes_takes_no_memory(tmp_path):
    huge = sparse.csc_matrix((5000, 5000))
    with pytest.raises(Mistake, match="5000 x 5000"):
        load(str(pickled(tmp_path, {**model(), "J_regressor": huge})))


# --- files, before anything is built ------------------------------------------------------------------------------------------------


def run(tmp_path, *overrides: str):
    return config.load("sds-gaussian", [f"out={tmp_path / 'run'}", *overrides])


LATER = {
    "a rig": ("rig: nowhere.npz", "there is no rig 'nowhere.npz'"),
    "a motion": ("motion: nowhere.json", "there is no motion 'nowhere.json'"),
    "a joint": ("pose: {left_elbo: [0, 0, 0]}", "this rig has no joint 'left_elbo'"),
    "a shape": ("shape: {heigth: 1}", "this rig has no shape direction 'heigth'"),
}


@pytest.mark.parametrize("name", LATER)
def test_what_a_later_stage_lacks_is_said_before_the_first_one(name, tmp_path):
    told, problem = LATER[name]
    with pytest.raises(Mistake, match=f"stages.1: {problem}") as caught:
        run(tmp_path, f"stages=[{{renderer: {{type: mesh}}}}, {{renderer: {{type: skinned, {told}}}}}]")
    assert "command line" in caught.value.where
    scene = f"renderer={{type: composed, layout: {{objects: [{{name: man, renderer: {{type: skinned, {told}}}}}]}}}}"
    with pytest.raises(Mistake, match=problem):
        run(tmp_path, scene)


CONTENTS = {
    "a broken rig": ({"weights": np.ones((30, 5))}, {}, "", "the weights of 30 of 30 vertices do not sum to one"),
    "a rig of two roots": ({"kintree_table": np.array([[2**32 - 1, 2**32 - 1, 1, 1, 1], range(5)])}, {}, "", "it has 2 roots"),
    "a joint": ({}, {}, "pose: {jaws: [0, 0, 0]}", "this rig has no joint 'jaws'"),
    "a shape": ({}, {}, "shape: {shape_11: 1}", "this rig has no shape direction 'shape_11'"),
    "a shape that is not asked for": ({}, {}, "shapes: 2, shape: {shape_3: 1}", "this rig has no shape direction 'shape_3'"),
    "a broken motion": ({}, {"rotations": {"neck": [[0, 0]]}}, "", "its rotations are no lists of"),
    "a motion of another rig": ({}, {"rotations": {"left_elbow": [[0, 0, 0]]}}, "", "there is no joint 'left_elbow' in this rig"),
    "a built-in motion": ({}, {}, "motion: wave", "the motion 'wave' is of the humanoid; this rig has no joint 'right_shoulder'"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_is_wrong_in_files_is_said_before_the_first_stage(name, tmp_path):
    change, moved, more, problem = CONTENTS[name]
    path = pickled(tmp_path, {**model(), **change})
    (tmp_path / "m.json").write_text(json.dumps(moved))
    told = ", ".join([f"type: skinned, rig: {path}", *([f"motion: {tmp_path / 'm.json'}"] if moved else []), *([more] if more else [])])
    with pytest.raises(Mistake, match=problem) as caught:
        run(tmp_path, f"stages=[{{renderer: {{type: mesh}}}}, {{renderer: {{{told}}}}}]")
    assert caught.value.where
    code = f"""import sys
from dream3d import config
from dream3d.errors import Mistake
try:
    config.load("sds-gaussian", ["renderer={{{told}}}"])
except Mistake:
    sys.exit(3 if "torch" in sys.modules else 0)
"""
    if name in ("a broken rig", "a broken motion"):
        assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode == 0  # without torch


def test_a_run_knows_its_rig_and_its_motion_again(tmp_path):
    turns = tmp_path / "bend.json"
    turns.write_text(json.dumps({"rotations": {"neck": [[0, 0, 0], [-90, 0, 0]]}}))
    settings = f"{{type: skinned, count: 30, rig: {body(tmp_path)}, motion: {turns}}}"
    whole = run(tmp_path, f"renderer={settings}")
    staged = run(tmp_path, f"stages=[{{}}, {{renderer: {settings}}}]")
    (tmp_path / "kept.yaml").write_text(staged.text())
    assert config.load(str(tmp_path / "kept.yaml")).values == staged.values
    for stage in (whole.stages[0], staged.stages[1]):
        assert len(stage["renderer"]["digests"]) == 2
        build.make("renderers", stage["renderer"], torch.Generator().manual_seed(0))
    turns.write_text(json.dumps({"rotations": {"neck": [[0, 0, 0], [-10, 0, 0]]}}))
    assert run(tmp_path, f"renderer={settings}").hash != whole.hash
    for stage in (whole.stages[0], staged.stages[1]):
        with pytest.raises(Mistake, match="bend.json is not the file that this run began with"):
            build.make("renderers", stage["renderer"], torch.Generator().manual_seed(0))


def test_every_built_in_motion_is_known_before_it_is_built():
    assert set(find.BUILT_IN) == set(moves.BUILT_IN)


MISTAKES = {
    "a joint": ({"pose": {"left_elbo": (0, 0, 0)}}, "no joint 'left_elbo'", "left_elbow"),
    "a shape": ({"shape": {"heigth": 1.0}}, "no shape direction 'heigth'", "height"),
    "no motion": ({"poses": "motion"}, "there is no motion", "wave"),
    "a motion of a name that no file can have": ({"motion": "w" * 300}, "no motion 'www", ""),
    "a motion": ({"motion": "wlak"}, "no motion 'wlak'", "walk"),
    "a rig": ({"rig": "human"}, "no rig 'human'", "humanoid"),
    "a backend of the other": ({"backend": "gsplat"}, "gsplat does not draw", "auto"),
    "the other way round": ({"backend": "nvdiffrast", "surface": "gaussians"}, "nvdiffrast does not draw", "auto"),
}


def test_settings_that_nothing_reads_are_told():
    """Those of the other surface, of poses that are not random, of a face that the rig has not; what is as it always is, is not."""
    splats = scene(surface="gaussians", count=50, shading="lambert", sway=0.2, texture=64).about
    assert splats.endswith("; without effect here: texture, shading, sway")
    body = scene(count=50, lr_offset=Ramp(0.1), lr_expression=Ramp(0.1), poses="random", sway=0.2).about
    assert body.endswith("; without effect here: count, lr_offset, lr_expression")
    assert "without effect" not in build.make("renderers", {"type": "skinned"}, torch.Generator()).about


@pytest.mark.parametrize("name", MISTAKES)
def test_wrong_settings_are_mistakes_that_name_the_right_one(name):
    settings, expected, near = MISTAKES[name]
    with pytest.raises(Mistake, match=expected) as caught:
        scene(**settings)
    assert near in caught.value.near and caught.value.where
