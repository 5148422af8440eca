"""Trackers: event files by an independent reader, other trackers by their calls, and runs that none of them can stop."""

import json
import struct
import sys
import threading
import time
import types

import pytest
from test_run import quick

import dream3d.trackers
from dream3d import config, needs, schema, trackers
from dream3d.api import execute
from dream3d.errors import Mistake
from dream3d.run import Run
from dream3d.trackers import About, Trackers, redacted, tensorboard

ABOUT = {"prompt": "a red car", "steps": 3, "guidance": {"type": "sds", "scale": 7.5}, "stages": [], "track": []}
REAL = ["wandb", "mlflow", "trackio"]


def about(path, **more) -> About:
    return About(path, "run", "0123456789ab", ABOUT | more)


# --- TensorBoard ------------------------------------------------------------------------------------------------------------------


def read(path) -> list[dict]:
    """Events of a file, by the definitions of TFRecord and of protobuf alone."""
    data, out = path.read_bytes(), []
    while data:
        (length,), checks = struct.unpack("<Q", data[:8]), (data[8:12], data[12 + struct.unpack("<Q", data[:8])[0] :][:4])
        body = data[12 : 12 + length]
        assert checks == tuple(struct.pack("<I", tensorboard.masked(part)) for part in (data[:8], body))
        out.append(parsed(body))
        data = data[16 + length :]
    return out


def parsed(body: bytes) -> dict[int, list]:
    found: dict[int, list] = {}
    while body:
        key, body = number(body)
        match key & 7:
            case 0:
                value, body = number(body)
            case 1:
                value, body = struct.unpack("<d", body[:8])[0], body[8:]
            case 5:
                value, body = struct.unpack("<f", body[:4])[0], body[4:]
            case 2:
                length, body = number(body)
                value, body = body[:length], body[length:]
        found.setdefault(key >> 3, []).append(value)
    return found


def number(body: bytes) -> tuple[int, bytes]:
    value = shift = 0
    while True:
        value |= (body[0] & 127) << shift
        shift, more, body = shift + 7, body[0] & 128, body[1:]
        if not more:
            return value, body


def scalars(events: list[dict]) -> list[tuple[int, str, float]]:
    return [(event[2][0], value[1][0].decode(), value[2][0]) for event in events if 5 in event
            for value in [parsed(v) for v in parsed(event[5][0])[1]] if 2 in value]  # fmt: skip


def test_checksums_are_those_of_the_standard():
    assert tensorboard.crc32c(b"123456789") == 0xE3069283 and tensorboard.crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert tensorboard.crc32c(bytes(range(32))) == 0x46DD794E
    assert tensorboard.masked(b"") == 0xA282EAD8


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63, 2**64 - 1])
def test_varints(value):
    assert number(tensorboard.varint(value)) == (value, b"")


def events(folder) -> list:
    return sorted((folder / "tensorboard").glob("*tfevents*"))


def test_event_files_hold_what_was_measured(tmp_path):
    kept = tensorboard.begin(about(tmp_path))
    rows = [(0, {"loss": 1.5}), (1, {"loss": 1e-40, "evaluations": 8.0}), (2, {"loss": 1e300, "gone": float("nan")})]
    for step, values in rows:
        kept.scalars(step, values)
    kept.close("done")
    (path,) = events(tmp_path)
    found = read(path)
    assert found[0][3] == [b"brain.Event:2"] and abs(found[0][1][0] - time.time()) < 60
    assert [parsed(event[7][0])[1] for event in found if 7 in event] == [[1]], "one start"
    told = scalars(found)
    assert told[:3] == [(0, "loss", 1.5), (1, "loss", pytest.approx(1e-40, rel=1e-3)), (1, "evaluations", 8.0)]
    assert told[3] == (2, "loss", float("inf")) and told[4][2] != told[4][2]


def test_steps_that_come_again_are_told_as_a_start(tmp_path):
    kept = tensorboard.begin(about(tmp_path))
    for step in (0, 1, 2, 1, 2, 3):
        kept.scalars(step, {"loss": float(step)})
    again = tensorboard.begin(about(tmp_path))
    again.scalars(2, {"loss": 20.0})
    first, second = (read(path) for path in events(tmp_path))
    assert [event[2][0] for event in first if 7 in event] == [0, 1] and [event[2][0] for event in second if 7 in event] == [2]


# --- of a run ---------------------------------------------------------------------------------------------------------------------


class Told:
    """A tracker that remembers, or is broken in one place."""

    def __init__(self, broken: str = "", error: BaseException | None = None):
        self.calls, self.broken, self.error = [], broken, error or ValueError("no <b>network</b>")

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if name == self.broken:
                raise self.error

        return call


def plug(patch, **begins) -> None:
    """Trackers of a test."""
    for name, begin in begins.items():
        patch.setitem(sys.modules, f"dream3d.trackers.{name}", types.SimpleNamespace(begin=begin))
    names = [*trackers.available(), *begins]
    patch.setattr(dream3d.trackers, "available", lambda: names)


@pytest.fixture
def plugged(monkeypatch):
    return lambda begin: plug(monkeypatch, told=begin)


SECRETS = {"WANDB_API_KEY": "k" * 40, "HF_TOKEN": "hf_verysecret", "DREAM3D_UI_PASSWORD": "open sesame",
           "MLFLOW_TRACKING_PASSWORD": "letmein!"}  # fmt: skip


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A finished run, what a tracker was told of it and about it; a second tracker broke and told all secrets."""
    told, seen = Told(), []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        error = RuntimeError(f"401 for https://me:hunter22@host/x?key={' '.join(SECRETS.values())}")
        plug(patch, told=lambda about: seen.append(about) or told, broken=lambda about: Told("scalars", error))
        patch.setattr(Run, "_export", lambda run, scene: {"mesh": run.folder.path / "export" / "mesh.glb"})
        folder = quick(tmp_path_factory.mktemp("tracked") / "run", "keep.preview=5", "track=[told, broken]")
        return execute(folder, quiet=True), told.calls, seen[0]


def test_every_run_keeps_event_files(tracked):
    done, _, _ = tracked
    lines = [json.loads(line) for line in (done.path / "metrics.jsonl").read_text().splitlines()]
    (path,) = events(done.path)
    told = {(step, name): value for step, name, value in scalars(read(path))}
    assert len(told) == sum(len(line) - 1 for line in lines)
    for line in lines:
        for name, value in line.items():
            assert name == "step" or told[line["step"], name] == pytest.approx(value, rel=1e-6)
    pictures = [parsed(parsed(parsed(event[5][0])[1][0])[4][0]) for event in read(path) if 5 in event and b"\x89PNG" in event[5][0]]
    assert [p[4][0] for p in pictures] == [(done.path / "previews" / f"step_{i:06d}.png").read_bytes() for i in (0, 5, 10)]


def test_a_tracker_hears_everything_in_order(tracked):
    done, calls, about = tracked
    assert about.path == done.path and about.values["prompt"] == "0" and not {"out", "keep"} & about.values.keys()
    assert [call[1] for call in calls if call[0] == "scalars"] == list(range(10))
    assert [call[1] for call in calls if call[0] == "image"] == [0, 5, 10]
    assert calls[-2:] == [("mesh", done.exports["mesh"]), ("close", "done")]


def test_secrets_are_nowhere_in_a_run(tracked):
    done, _, _ = tracked
    log = (done.path / "log.txt").read_text()
    assert log.count("broken is not told any more: RuntimeError: 401 for https://***@host/x?key=***") == 1
    for path in done.path.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not [name for name, value in SECRETS.items() if value.encode() in data or b"hunter22" in data], path
    assert "WANDB" not in (done.path / "environment.json").read_text()


@pytest.mark.parametrize("broken", ["begin", "scalars", "image", "mesh", "close"])
@pytest.mark.parametrize("error", [ValueError("no <b>network</b>\x1b[31m"), SystemExit(3), KeyboardInterrupt()])
def test_a_tracker_that_fails_stops_nothing_and_is_told_of_once(tmp_path, plugged, broken, error):
    told, said = Told(broken, error), []

    def begin(about):
        told.begin() if broken == "begin" else None
        return told

    plugged(begin)
    line = Trackers(["told"], about(tmp_path), said.append)
    for step in range(5):
        line.scalars([{"step": step, "loss": 1.0, "flag": True, "name": "x"}])
        line.image(step, "previews", tmp_path / "a.png")
    line.mesh(tmp_path / "mesh.glb")
    line.close("done")
    assert len(said) == 1 and said[0].startswith("told is not told any more: ") and type(error).__name__ in said[0]
    assert "\x1b" not in said[0] and "metrics.jsonl" in said[0]
    assert len([call for call in told.calls if call[0] == broken]) == 1, "it is left at its first mistake"
    assert all(call[2] == {"loss": 1.0} for call in told.calls if call[0] == "scalars")


def test_a_full_disk_for_the_log_stops_nothing_either(tmp_path, plugged):
    def full(text):
        raise Mistake("no space left to write log.txt")

    plugged(lambda about: Told("scalars"))
    line = Trackers(["told"], about(tmp_path), full)
    line.scalars([{"step": 0, "loss": 1.0}])
    line.close("done")
    assert line.lines[0].told


def test_a_tracker_that_hangs_holds_nothing_up(tmp_path, plugged, monkeypatch):
    monkeypatch.setattr(dream3d.trackers, "PATIENCE", 0.05)
    monkeypatch.setattr(dream3d.trackers, "ROOM", 5)
    release, said = threading.Event(), []
    plugged(lambda about: release.wait(20) and None)
    start = time.monotonic()
    line = Trackers(["told"], about(tmp_path), said.append)
    for step in range(3):
        line.scalars([{"step": step, "loss": 1.0}])
    line.close("failed")
    assert time.monotonic() - start < 10 and said and "did not end within 0.05 s" in said[0]
    said.clear()
    line = Trackers(["told"], about(tmp_path), said.append)
    line.scalars([{"step": step, "loss": 1.0} for step in range(9)])
    line.close("done")
    release.set()
    assert len(said) == 1 and "5 values wait" in said[0]


def test_short_values_of_the_environment_are_no_secrets(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "a")
    assert redacted("a banana at http://host/a") == "a banana at http://host/a"


# --- the setting ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, names", [("track=wandb", ["wandb"]), ("track=[wandb, mlflow, wandb]", ["wandb", "mlflow"]),
                                         ("track=[]", []), ("track=null", [])])  # fmt: skip
def test_track_is_a_list_of_names_and_changes_no_result(text, names):
    found = config.load("sds-gaussian", ["prompt=a red car", text])
    assert found.values["track"] == names and found.hash == config.load("sds-gaussian", ["prompt=a red car"]).hash


@pytest.mark.parametrize("text", ["track=wandbb", "track=[x]", "track=3", "track={a: 1}", "track=[[]]", "track=../wandb",
                                  "stages=[{track: []}]"])  # fmt: skip
def test_other_trackers_are_mistakes(text):
    with pytest.raises(Mistake) as caught:
        config.load("sds-gaussian", ["prompt=a red car", text])
    assert caught.value.code == 2 and len(caught.value.lines) <= 5


def test_a_tracker_that_is_not_installed_is_a_mistake_before_any_work(monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Mistake) as caught:
        trackers.check(["tensorboard", "wandb"], "here")
    assert caught.value.fix == 'pip install "dream3d[track-wandb]"' and caught.value.where == "here"


def test_needs_and_schema_know_the_setting(monkeypatch):
    asked = []
    monkeypatch.setattr(trackers, "check", lambda names, where: asked.append((names, where)))
    needs.check_needs(config.load("sds-gaussian", ["prompt=a red car", "track=wandb"]))
    ((names, where),) = asked
    assert names == ["wandb"] and "command line" in where
    assert schema.recipe()["properties"]["track"] == {"$ref": "#/$defs/track"}
    assert set(trackers.available()) == {"tensorboard", *REAL}

