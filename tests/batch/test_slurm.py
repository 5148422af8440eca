"""The script for SLURM: what it says, that nothing in it is a command, and that it runs, by a sbatch of our own."""

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from dream3d.batch import slurm
from dream3d.commands import batch
from dream3d.errors import Mistake

NASTY = "$(touch pwned); `touch pwned` 'x' \"y\""


def test_every_word_is_quoted_and_options_are_options(tmp_path):
    text = slurm.script(["list.csv", "--set", f"prompt={NASTY}"], tmp_path, 4, ["--partition=gpu", "--time=60"])
    assert "#SBATCH --array=0-3\n" in text and "#SBATCH --partition=gpu\n" in text and "#SBATCH --requeue\n" in text
    line = next(line for line in text.splitlines() if line.endswith(" &"))
    assert shlex.split(line)[3:-1] == ["batch", "list.csv", "--set", f"prompt={NASTY}"]
    for bad in ("-p gpu", "gpu", "--x\nrm -rf /"):
        with pytest.raises(Mistake, match="no option"):
            slurm.script([], tmp_path, 1, [bad])


def test_folders_of_any_name_are_one_word_of_an_option(tmp_path):
    text = slurm.script([], tmp_path / "my toys %a", 1, [])
    words = [word for line in text.splitlines() if line.startswith("#SBATCH") for word in shlex.split(line)[1:]]
    assert f"--output={tmp_path}/my toys %%a/slurm-%a.txt" in words and "--job-name=dream3d-my toys %a" in words
    with pytest.raises(Mistake, match="line break"):
        slurm.script([], tmp_path / "x\n#SBATCH --wrap=y", 1, [])


def test_a_launcher_has_a_worker_of_its_own_and_begins_nothing_again():
    words = ["list.csv", "--executor", "slurm", "--workers=8", "--seeds", "0-3", "--force", "--sbatch=--time=60", "--sbatch", "--x=1"]
    kept = batch._launcher([*words, "--out", "lib"])
    assert kept == ["list.csv", "--seeds", "0-3", "--out", "lib", "--executor", "local", "--workers", "1"]


def test_without_sbatch_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Mistake, match="no sbatch"):
        slurm.submit([], tmp_path, 1, [])


def test_what_sbatch_says_is_told(tmp_path, monkeypatch):
    _program(tmp_path / "sbatch", 'echo "Submitted batch job 7"; cp "$1" taken.sh')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    assert slurm.submit(["list.csv"], tmp_path, 2, []) == "Submitted batch job 7"
    assert Path("taken.sh").read_text() == (tmp_path / "slurm.sh").read_text()
    _program(tmp_path / "sbatch", 'echo "invalid partition" >&2; exit 1')
    with pytest.raises(Mistake, match="invalid partition"):
        slurm.submit(["list.csv"], tmp_path, 2, [])


@pytest.mark.parametrize(
    ("said", "problem", "fix"),
    [("sbatch: error: no partition x\nsbatch: error: Invalid partition name",
      "Invalid partition", "sinfo lists partitions"),
     ("sbatch: error: Invalid account or account/partition combination", "Invalid account", "--sbatch=--account"),
     ("sbatch: error: Batch job submission failed: Invalid job array specification", "array", "fewer --workers"),
     ("", "exit code 1", "what the cluster wants")],
)  # fmt: skip
def test_what_sbatch_complains_of_is_one_problem_with_its_fix(tmp_path, monkeypatch, said, problem, fix):
    _program(tmp_path / "sbatch", f"echo {shlex.quote(said)} >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Mistake, match=problem) as told:
        slurm.submit([], tmp_path, 1, [])
    assert fix in told.value.fix and len(told.value.lines) <= 5 and str(tmp_path) in told.value.where


def test_an_sbatch_that_says_nothing_is_not_waited_for(tmp_path, monkeypatch):
    _program(tmp_path / "sbatch", "exec sleep 30")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(slurm, "PATIENCE", 0.2)
    with pytest.raises(Mistake, match="said nothing"):
        slurm.submit([], tmp_path, 1, [])


def test_a_launcher_that_is_asked_to_stop_saves_and_is_queued_again(tmp_path, monkeypatch):
    """The script with another program in the launcher's place, which takes a moment to save."""
    _program(tmp_path / "scontrol", "echo \"$@\" > requeued")
    _program(tmp_path / "work", "trap 'sleep 0.3; touch saved; exit 143' TERM; touch begun; while :; do sleep 0.05; done")
    monkeypatch.setattr(slurm.shlex, "join", lambda words: str(tmp_path / "work"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slurm.sh").write_text(slurm.script([], tmp_path, 1, []))
    names = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}
    process = subprocess.Popen(["bash", "slurm.sh"], env=os.environ | names)
    until = time.monotonic() + 20
    while not Path("begun").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143 and Path("saved").exists() and Path("requeued").read_text() == "requeue 7_3\n"


def _program(path, body):
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
