"""TensorBoard, wandb, MLflow and Trackio as they are, where they are installed: what they were told is read back from what they stored."""

import json
import struct
import time

import pytest
from test_trackers import about

from dream3d.trackers import tensorboard


def used(tracker, tmp_path) -> None:
    """A run, told twice from step 1 on."""
    from PIL import Image

    Image.new("RGB", (8, 6), (200, 0, 0)).save(tmp_path / "step_000000.png")
    for step in (0, 1, 2, 1, 2):
        tracker.scalars(step, {"loss": step + 0.5, "evaluations": 8.0})
    tracker.image(2, "previews", tmp_path / "step_000000.png")


def logged(data: bytes):
    """The records of a .wandb file: LevelDB's log format after a head of 7 bytes."""
    assert data[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield parts
            parts = b""


def test_wandb_itself_keeps_what_it_is_told(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    from dream3d.trackers.wandb import begin

    monkeypatch.setenv("WANDB_MODE", "offline")
    tracker = begin(about(tmp_path))
    used(tracker, tmp_path)
    tracker.close("done")
    (path,) = tmp_path.glob("wandb/offline-run-*/run-0123456789ab.wandb")
    end, size = time.monotonic() + 20, 0
    while size < 100 or size != path.stat().st_size:  # wandb writes on after it has ended
        size = path.stat().st_size
        time.sleep(0.3)
        assert time.monotonic() < end
    rows, told = [], b""
    for data in logged(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        told += data
        if record.HasField("history"):
            rows.append({i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in record.history.item})
    assert [(row["step"], row["loss"]) for row in rows if "loss" in row] == [(0, 0.5), (1, 1.5), (2, 2.5), (1, 1.5), (2, 2.5)]
    assert any("previews" in name for row in rows for name in row) and b"a red car" in told
    assert b"pytest" not in told, "neither the program nor its words"


def test_mlflow_itself_keeps_what_it_is_told(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    from dream3d.trackers.mlflow import begin

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    first = begin(about(tmp_path, long="x" * 900, many={f"k{i}": i for i in range(150)}))
    used(first, tmp_path)
    first.close("interrupted")
    again = begin(about(tmp_path))
    assert again.run == first.run, "the same run, continued"
    again.mesh(tmp_path / "step_000000.png")
    again.close("done")
    client = mlflow.MlflowClient()
    found = client.get_run(first.run)
    assert found.info.status == "FINISHED" and found.data.params["guidance.scale"] == "7.5" and found.data.params["many.k149"] == "149"
    told = sorted((m.step, m.value) for m in client.get_metric_history(first.run, "loss"))
    assert told == [(0, 0.5), (1, 1.5), (1, 1.5), (2, 2.5), (2, 2.5)]
    assert {file.path for folder in ("previews", "export") for file in client.list_artifacts(first.run, folder)} == {
        "previews/step_000000.png", "export/step_000000.png"}  # fmt: skip
    assert "mlflow.source.name" not in found.data.tags and "mlflow.user" not in found.data.tags


def test_trackio_itself_keeps_what_it_is_told(tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    from trackio.sqlite_storage import SQLiteStorage

    from dream3d.trackers.trackio import begin

    tracker = begin(about(tmp_path))
    used(tracker, tmp_path)
    tracker.close("done")
    rows = SQLiteStorage.get_logs("dream3d", "run-0123456789ab")
    assert [(row["step"], row["loss"]) for row in rows if "loss" in row] == [(0, 0.5), (1, 1.5), (2, 2.5), (1, 1.5), (2, 2.5)]
    assert any("previews" in row for row in rows)


def test_tensorboard_itself_reads_them(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from PIL import Image

    kept = tensorboard.begin(about(tmp_path))
    Image.new("RGB", (40, 30), (200, 0, 0)).save(tmp_path / "a.png")
    for step in (0, 1, 2, 3, 2):
        kept.scalars(step, {"loss": step + 0.5, "b": 1.0})
    kept.image(2, "previews", tmp_path / "a.png")
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"), {"scalars": 0, "images": 0})
    (shown,) = found.Reload().Images("previews")
    assert (shown.width, shown.height, shown.step) == (40, 30, 2)
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(0, 0.5), (1, 1.5), (2, 2.5)], "of what was rolled back the last stays"
    again = tensorboard.begin(about(tmp_path))
    again.scalars(1, {"loss": 10.0})
    found = accumulator.EventAccumulator(str(tmp_path / "tensorboard"), {"scalars": 0}).Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(0, 0.5), (1, 10.0)], "what was measured anew replaces the old"
