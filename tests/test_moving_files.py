"""Clips in files: what a reader that knows only the specification sees at a time is what the renderer draws then."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dream3d.renderers.skinned import Skinned
from gltf_reader import Glb
from gltf_validator import valid
from moving_scenes import FACTS, ball, rolling, textured, turning
from rig_files import model
from safetensors.numpy import save_file
from skinned_scenes import coloured, scene

from dream3d.clips import MeshClip, Skin, lasting, posed
from dream3d.errors import Mistake
from dream3d.export import gltf_moving
from dream3d.export.formats import Ask, named
from dream3d.export.gltf_moving import needed, strongest, write_morph, write_skin


def z_up(vertices):
    return np.stack([vertices[:, 0], -vertices[:, 2], vertices[:, 1]], -1)


def far(file: Glb, time: float, truth) -> float:
    """The largest distance of vertices in the file from true ones, whichever way they are numbered or doubled; metres."""
    from scipy.spatial import cKDTree

    found, truth = z_up(file.vertices(time)), truth.detach().numpy()
    if found.shape == truth.shape:
        return float(np.abs(found - truth).max())
    return float(max(cKDTree(truth).query(found)[0].max(), cKDTree(found).query(truth)[0].max()))


# --- morph targets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["vertex", "texture", "lit"])
def test_a_mesh_that_moves_is_at_every_moment_where_it_is_drawn(kind, tmp_path):
    made, times = rolling(), torch.linspace(0, 1, 9)
    clip = made.clip(times)
    if kind != "vertex":
        clip = dataclasses.replace(clip, mesh=textured(clip.mesh, lit=kind == "lit"))
    write_morph(lasting(clip, 2.0), tmp_path / "a.glb", FACTS)
    file, rest = Glb(tmp_path / "a.glb"), made.rest()
    for time in times.tolist():
        assert far(file, 2 * time, made.moved(rest, torch.tensor(time))[0]) < 1e-5
    between = (made.moved(rest, times[3])[0] + made.moved(rest, times[4])[0]) / 2
    assert far(file, float(times[3] + times[4]), between) < 1e-5
    assert far(file, 2.0, rest) > 0.05  # it does move
    target = file.json["meshes"][0]["primitives"][0]["targets"][0]
    assert ("NORMAL" in target) is (kind == "lit") and file.json["asset"]["extras"] == FACTS
    assert file.json["meshes"][0]["extras"]["targetNames"] == [f"frame_{k:04d}" for k in range(1, 9)]


def test_normals_turn_with_a_mesh_that_is_lit(tmp_path):
    clip = turning(ball(), torch.linspace(0, 1, 5))
    write_morph(dataclasses.replace(clip, mesh=textured(clip.mesh, lit=True)), tmp_path / "a.glb", FACTS)
    file = Glb(tmp_path / "a.glb")
    (primitive,) = file.json["meshes"][0]["primitives"]
    there = file.array(primitive["attributes"]["NORMAL"]) + file.array(primitive["targets"][3]["NORMAL"])
    place = file.vertices(1.0)
    assert (there * place).sum(1).min() > 0.98 * np.linalg.norm(place, axis=1).max()  # those of a ball point away from its middle


def test_a_way_that_is_straight_or_leads_nowhere_needs_no_targets(tmp_path):
    mesh, times = ball(), torch.linspace(0, 1, 25)
    shift = torch.tensor([0.1, 0.2, 0.3])
    for share, targets in ((0 * times, 0), (times, 1), ((times - 0.5).clamp(min=0), 1), (0.5 - (times - 0.5).abs(), 1)):
        clip = MeshClip(mesh, mesh.vertices + share[:, None, None] * shift, times)
        write_morph(clip, tmp_path / "a.glb", FACTS)
        file = Glb(tmp_path / "a.glb")
        assert len(file.json["meshes"][0]["primitives"][0].get("targets", [])) == targets
        for k in range(25):
            assert far(file, float(times[k]), clip.places[k]) < 1e-5


def test_only_the_part_that_moves_is_written(tmp_path):
    mesh, times = ball(1280), torch.linspace(0, 1, 6)
    up = mesh.vertices[:, 2] > 0.4
    clip = MeshClip(mesh, mesh.vertices + times[:, None, None].square() * up[:, None] * torch.tensor([0.1, 0.0, 0.0]), times)
    write_morph(clip, tmp_path / "a.glb", FACTS)
    whole = dataclasses.replace(clip, places=mesh.vertices + times[:, None, None].square() * torch.tensor([0.1, 0.0, 0.0]))
    write_morph(whole, tmp_path / "b.glb", FACTS)
    file = Glb(tmp_path / "a.glb")
    assert all(far(file, float(times[k]), clip.places[k]) < 1e-5 for k in range(6))
    saved = (tmp_path / "b.glb").stat().st_size - (tmp_path / "a.glb").stat().st_size
    assert saved > 0.7 * 5 * 12 * len(mesh.vertices)


def test_the_same_clip_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_morph(rolling().clip(torch.linspace(0, 1, 4)), tmp_path / f"{name}.glb", FACTS)
        write_skin(scene(motion="wave").clip(torch.linspace(0, 1, 4)), tmp_path / f"s{name}.glb", FACTS)
    for a, b in (("a.glb", "b.glb"), ("sa.glb", "sb.glb")):
        assert (tmp_path / a).read_bytes() == (tmp_path / b).read_bytes()


def test_a_long_clip_says_how_large_it_is_and_a_huge_one_is_refused(tmp_path, monkeypatch):
    clip = turning(ball(80), torch.linspace(0, 1, 70))
    with pytest.warns(UserWarning, match=r"a.glb has 69 morph targets, 0 MB: fewer export.moments"):
        write_morph(clip, tmp_path / "a.glb", FACTS)
    monkeypatch.setattr(gltf_moving, "LARGEST", 1000)
    with pytest.raises(Mistake, match="of morph targets") as told:
        write_morph(clip, tmp_path / "b.glb", FACTS)
    assert told.value.code == 4 and not (tmp_path / "b.glb").exists()


def test_the_moments_that_ways_need():
    times = np.linspace(0, 1, 11)
    straight = times[:, None, None] * np.ones((1, 4, 3))
    assert needed(straight, times) == [0, 10]
    assert needed(np.abs(straight - 0.3), times) == [0, 3, 10]
    assert needed(straight**2, times) == list(range(11))
    assert needed(straight[:1], times[:1]) == [0] and needed(straight[:2], times[:2]) == [0, 1]


# --- joints ---------------------------------------------------------------------------------------------------------


def drawn(made: Skinned, time: float):
    return made.body.bent(made.body.rest(), *made.body.playing(made.motion, time))


MOVES = {"rotations": {"left_elbow": [[0, 0, 0], [-90, 0, 0], [-20, 40, 0]], "hips": [[0, 0, 0], [0, 0, 170], [0, 0, 300]]},
         "times": [0, 0.4, 1], "shift": [[0, 0, 0], [0, -0.1, 0.2], [0.3, 0, 0]]}  # fmt: skip


def test_a_body_is_at_every_time_where_it_is_drawn(tmp_path):
    """At the moments of its motion and between them, where joints turn at a steady pace here and there."""
    (tmp_path / "moves.json").write_text(json.dumps(MOVES))
    made = coloured(scene(motion=str(tmp_path / "moves.json"), pose={"head": (0, 20, 10)}, shape={"height": 0.5}))
    skin = made.clip(torch.tensor([0, 0.4, 1]))
    write_skin(lasting(skin, 3.0), tmp_path / "a.glb", FACTS)
    file = Glb(tmp_path / "a.glb")
    assert (skin.weights > 0).sum(1).max() == 4 and "extras" not in file.json["meshes"][0]
    for time in (0.0, 0.1, 0.4, 0.55, 0.8, 1.0):
        assert far(file, 3 * time, drawn(made, time)) < 1e-5, time
    assert far(file, 1.2, made.vertices()) > 0.1
    assert {node["name"] for node in file.json["nodes"]} == {"object", *made.body.given.names}


@pytest.mark.parametrize("motion", ["wave", "walk"])
def test_the_humanoid_moves_as_it_is_drawn(motion, tmp_path):
    made, times = scene(motion=motion), torch.linspace(0, 1, 24)
    write_skin(made.clip(times), tmp_path / "a.glb", FACTS)
    file = Glb(tmp_path / "a.glb")
    for time in times[[0, 5, 16, 23]].tolist():
        assert far(file, time, drawn(made, time)) < 1e-5
    still = {node["name"] for i, node in enumerate(file.json["nodes"]) if not any(key[0] == i for key in file.animated(0))}
    assert "object" in still and "left_ankle" in still  # what does not turn has no channel


def test_a_body_without_a_motion_stands_on_its_joints(tmp_path):
    made = coloured(scene(pose={"left_shoulder": (0, 40, 0)}))
    write_skin(made.clip(torch.linspace(0, 1, 24)), tmp_path / "a.glb", FACTS)
    file = Glb(tmp_path / "a.glb")
    assert "animations" not in file.json and far(file, 0, made.vertices()) < 1e-5


def body(folder, influences: int) -> tuple[Skinned, Skin]:
    """A body model of one's own of five joints, y up, with pose directions; at three moments of a motion."""
    numbers = model()
    weights, numbers["f"] = numbers["weights"], np.arange(30, dtype=np.uint32).reshape(10, 3)
    weights[np.argsort(weights, 1).argsort(1) < 5 - influences] = 0
    numbers["weights"] = weights / weights.sum(1, keepdims=True)
    np.savez(folder / "body.npz", **numbers)
    turns = np.zeros((3, 5, 3))
    turns[1:, 1], turns[1:, 0] = [[0.4, 0.2, 0], [0.9, -0.3, 0.2]], [[0, 1, 0], [0, 2, 0]]
    save_file({"rotations": turns, "shift": np.array([[0, 0, 0], [0.1, 0, 0], [0, 0, 0.2]])}, folder / "m.safetensors")
    made = scene(rig=str(folder / "body.npz"), motion=str(folder / "m.safetensors"))
    return made, made.clip(torch.tensor([0, 0.5, 1]))


def test_what_a_pose_adds_at_rest_is_morphed_before_it_is_skinned(tmp_path):
    made, skin = body(tmp_path, 4)
    assert skin.bends.abs().max() > 1e-3
    write_skin(skin, tmp_path / "a.glb", FACTS)
    for k, time in enumerate((0.0, 0.5, 1.0)):
        assert (posed(skin).places[k] - drawn(made, time)).abs().max() < 1e-5
        assert far(Glb(tmp_path / "a.glb"), time, drawn(made, time)) < 1e-5


def test_more_than_four_joints_of_a_vertex_are_lost_and_it_is_said(tmp_path):
    made, skin = body(tmp_path, 5)
    with pytest.warns(UserWarning, match="four joints at most; of their weights .*% are lost"):
        write_skin(skin, tmp_path / "a.glb", FACTS)
    file = Glb(tmp_path / "a.glb")
    lost = skin.weights.sort(1).values[:, 0]
    said = file.json["meshes"][0]["extras"]["weightsLost"]
    assert said == {"mean": pytest.approx(lost.mean().item(), abs=1e-5), "most": pytest.approx(lost.max().item(), abs=1e-5)}
    assert 1e-4 < far(file, 1, drawn(made, 1.0)) < 0.5
    assert (posed(skin).places[2] - drawn(made, 1.0)).abs().max() < 1e-5


def test_the_strongest_joints_of_a_vertex():
    weights = np.array([[0.1, 0.4, 0.2, 0.0, 0.3], [0, 0, 1.0, 0, 0]])
    joints, largest, lost = strongest(weights, 3)
    assert joints.tolist() == [[1, 4, 2], [2, 0, 0]] and lost == pytest.approx([0.1, 0])
    np.testing.assert_allclose(largest, [[4 / 9, 3 / 9, 2 / 9], [1, 0, 0]], atol=1e-7)
    assert strongest(weights[:, 1:4], 4)[1].shape == (2, 4)


# --- other readers --------------------------------------------------------------------------------------------------


def files(folder) -> dict[str, Path]:
    """One of every kind."""
    times, part = torch.linspace(0, 1, 4), ball(1280)
    up = 0.1 * times[:, None, None].square() * (part.vertices[:, 2:] > 0.4)
    still = MeshClip(ball(), ball().vertices.expand(4, -1, -1), times)
    clips = {"moving": rolling().clip(times), "part": MeshClip(part, part.vertices + up, times), "still": still}
    for name in ("baked", "lit"):
        clips[name] = dataclasses.replace(clips["moving"], mesh=textured(clips["moving"].mesh, lit=name == "lit"))
    standing = scene(pose={"left_shoulder": (0, 40, 0)})
    skins = {"body": coloured(scene(motion="walk")).clip(times), "standing": standing.clip(times), "bends": body(folder, 4)[1]}
    skins["unwrapped"] = dataclasses.replace(skins["body"], mesh=textured(skins["body"].mesh, lit=True))
    for name, clip in (clips | skins).items():
        (write_skin if name in skins else write_morph)(clip, folder / f"{name}.glb", FACTS)
    return {name: folder / f"{name}.glb" for name in clips | skins}


def test_the_validator_has_nothing_to_say(tmp_path):
    for name, path in files(tmp_path).items():
        info = valid(path)
        assert info["animationCount"] == (name not in ("still", "standing")), name
        assert info["hasMorphTargets"] is (name in ("moving", "part", "baked", "lit", "bends")), name
        assert info["hasSkins"] is (name in ("body", "standing", "bends", "unwrapped")), name


def test_the_small_ones_for_the_web_move_alike(tmp_path):
    times = torch.linspace(0, 1, 4)
    clip, skin = rolling().clip(times), coloured(scene(motion="walk")).clip(times)
    for name, item in (("clip", clip), ("skin", skin)):
        item = dataclasses.replace(item, mesh=textured(item.mesh, lit=True))
        for web in (False, True):
            named("glb").write(item, tmp_path / f"{name}-{web}.glb", Ask(FACTS, web=web))
        one, other = (Glb(tmp_path / f"{name}-{web}.glb") for web in (False, True))
        assert np.abs(one.vertices(0.4) - other.vertices(0.4)).max() < 1e-7
        assert (tmp_path / f"{name}-True.glb").stat().st_size < (tmp_path / f"{name}-False.glb").stat().st_size
    for name in ("clip", "skin"):
        valid(tmp_path / f"{name}-True.glb")


def test_pygltflib_reads_them(tmp_path):
    pygltflib = pytest.importorskip("pygltflib")
    for path in files(tmp_path).values():
        again = pygltflib.GLTF2().load(str(path))
        assert again.asset.version == "2.0" and again.meshes[0].primitives[0].attributes.POSITION is not None


# --- what is wrong with it ------------------------------------------------------------------------------------------

ODD = ("a/b", "../\u202ex", "\ud800\x00", "<b>" + "x" * 500)  # names of joints that a rig of somebody may have


def test_odd_names_of_joints_are_written_such_as_they_can_be_read(tmp_path):
    skin = scene(motion="walk").clip(torch.linspace(0, 1, 3))
    write_skin(dataclasses.replace(skin, names=(*ODD, *skin.names[4:])), tmp_path / "a.glb", FACTS)
    names = [node["name"] for node in Glb(tmp_path / "a.glb").json["nodes"]]
    assert names[1] == "a/b" and names[3] == r"\ud800\x00" and all(name.isprintable() and len(name) <= 80 for name in names)


@pytest.mark.parametrize("form", ["glb", "usd", "usdz", "sequence"])
def test_what_is_not_finite_or_not_there_is_a_mistake_and_no_file(form, tmp_path):
    if named(form).needs:
        pytest.importorskip(named(form).needs)
    clip, none = rolling().clip(torch.linspace(0, 1, 3)), torch.zeros(0, 3, dtype=torch.long)
    places = clip.places.clone()
    places[2, 5, 1] = torch.nan
    bad = [dataclasses.replace(clip, places=places), dataclasses.replace(clip, mesh=dataclasses.replace(clip.mesh, faces=none))]
    if form != "sequence":
        skin = scene(motion="walk").clip(torch.linspace(0, 1, 3))
        bad.append(dataclasses.replace(skin, turns=torch.full_like(skin.turns, torch.inf)))
    for item in bad:
        with pytest.raises(Mistake, match="diverged|no faces"):
            named(form).write(item, tmp_path / "made" / "a", Ask())
        assert not (tmp_path / "made" / "a").exists()
