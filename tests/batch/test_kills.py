"""A library whose workers are killed at random, whose launcher is killed too, with jobs that hang, raise and kill their process: at the
end every other job is done, once, and is what it is where nothing went wrong."""

import csv
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
JOBS = int(os.environ.get("DREAM3D_KILL_JOBS", "12"))  # 60 for the whole proof
RAY = importlib.util.find_spec("ray") is not None
NAMES = ("a red car", "a blue duck", "a green bus")
SETTINGS = ["steps=4", "export.mesh=false", "export.frames=2", "keep.preview=0", "prior.renders=60",
            "prior.size=16"]  # fmt: skip


def manifest(folder):
    (folder / "trouble.yaml").write_text("extends: sds-plane.yaml\nguidance: {type: trouble}\n")
    rows = [f"{NAMES[i % 3]},{i // 3}" for i in range(JOBS)]
    (folder / "list.csv").write_text("prompt,seed\n" + "\n".join([*rows, *(f"a cat,{seed}" for seed in (90, 91, 92))]) + "\n")


def launch(folder, out, *more):
    command = [sys.executable, str(ROOT / "launch.py"), "batch", "list.csv", "--config", "trouble.yaml", "--set", *SETTINGS, "--out", out,
               "--plugin", "trouble", "--workers", "2", "--hang", "25", *more]  # fmt: skip
    names = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(command, cwd=folder, env=names, stdout=open(folder / f"{out}.txt", "ab"), stderr=subprocess.STDOUT)


def children(process):
    """Its workers, by the list of all processes: its own, or Ray's, which hang on its raylet."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            told = path.read_text(errors="replace").rpartition(")")[2].split()
            name = (path.parent / "cmdline").read_bytes()
            if int(told[1]) == process.pid and b"spawn_main" in name or name.startswith(b"ray::Worker"):
                found.append(int(path.parent.name))
        except (OSError, IndexError):
            continue
    return found


@pytest.mark.parametrize("together", ["1", "3"])  # whose prior remembers, and is each job's own: the same bytes
@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.skipif(not RAY, reason="Ray is not installed"))])
def test_nothing_is_lost_and_nothing_made_twice(tmp_path, executor, together):
    manifest(tmp_path)
    told = "--together", together, "--executor", executor
    dice, turn, launchers, process = random.Random(0), 0, 0, launch(tmp_path, "hurt", *told)
    until = time.monotonic() + 1500
    while process.poll() is None and time.monotonic() < until:
        time.sleep(dice.uniform(10, 20))
        turn += 1
        if launchers < 3 and turn % 3 == 0 and process.poll() is None:
            process.kill()
            process.wait()
            launchers, process = launchers + 1, launch(tmp_path, "hurt", *told)
        elif workers := children(process):
            os.kill(dice.choice(workers), signal.SIGKILL)
    assert process.wait(60) == 6, (tmp_path / "hurt.txt").read_text()[-2000:]
    assert launchers == 3 or JOBS < 60  # a short list is done sooner
    lost = {row["seed"]: row["failure"] for row in csv.DictReader((tmp_path / "hurt" / "failures.csv").open(newline=""))}
    assert lost["91"] == "error" and lost["92"] == "lost" and lost["90"] in ("timeout", "lost")
    while len(lost) > 3:  # unlucky ones, whose worker was shot four times: begun again, undisturbed
        assert launch(tmp_path, "hurt", "--retry-failed").wait(900) == 6
        lost = {row["seed"]: row["failure"] for row in csv.DictReader((tmp_path / "hurt" / "failures.csv").open(newline=""))}
    assert launch(tmp_path, "calm").wait(1500) == 6
    hurt, calm = (made(tmp_path / name) for name in ("hurt", "calm"))
    assert len(calm) == JOBS and hurt.keys() == calm.keys()
    for name in calm:
        assert hurt[name] == calm[name], name
    lines = [json.loads(line)["name"] for line in (tmp_path / "hurt" / "catalog.jsonl").read_text().splitlines()]
    assert sorted(lines) == sorted(calm)
    left = [path for path in (tmp_path / "hurt").rglob(".*") if path.name not in (".lock", ".closed")]
    assert all(path.stat().st_size == 0 or "lease" in path.name or path.is_dir() for path in left), left


def made(library):
    """The bytes of what each job made, but for what tells times."""
    found = {}
    for done in library.glob("jobs/*/*/done.json"):
        record = json.loads(done.read_text())
        assert record["changed"] == {} and record["state"] == "done"
        files = [library / path for path in record["files"].values() if not path.endswith(("report.html", "viewer.html"))]
        last = sorted((library / record["run"] / "checkpoints").glob("step_*"))[-1]
        found[record["name"]] = {path.name: path.read_bytes() for path in [*files, *last.glob("*.safetensors")]}
        assert len(found[record["name"]]) >= 3
    return found
