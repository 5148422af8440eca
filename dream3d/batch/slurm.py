"""A library on a SLURM cluster: an array of launchers, each of which takes what no other has. Nothing is given out, so one that is
pre-empted, requeued or lost changes nothing but the time it takes.

The script is plain sbatch: a library that ships functions to the nodes as pickles would make whoever can write there run code.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import dream3d
from dream3d import files
from dream3d.errors import Mistake

GRACE = 120  # seconds before the time limit in which a launcher saves
PATIENCE = 120  # seconds for sbatch to answer


def submit(words: list[str], library: Path, size: int, options: list[str]) -> str:
    """Submit `size` launchers that run `batch` with these words; options are sbatch's own. Returns what sbatch said. Raises Mistake where
    there is no sbatch, or it refuses."""
    if shutil.which("sbatch") is None:
        raise Mistake("there is no sbatch here", where="--executor slurm", fix="run it on a SLURM cluster's login node")
    path = library / "slurm.sh"
    files.write_text(path, script(words, library, size, options))
    told = {"capture_output": True, "text": True, "errors": "replace", "timeout": PATIENCE}
    try:
        asked = subprocess.run(["sbatch", str(path)], **told)
    except subprocess.TimeoutExpired:
        raise Mistake(f"sbatch said nothing for {PATIENCE} s", where="--executor slurm", near="squeue --me shows whether it took it",
                      fix="run the same command again when the cluster answers") from None  # fmt: skip
    except OSError as error:
        raise Mistake(f"sbatch cannot be run: {error.strerror or error}", where="--executor slurm") from None
    if asked.returncode:
        said = [line for line in asked.stderr.strip().splitlines() if line.strip()] or [f"exit code {asked.returncode}"]
        raise Mistake(f"sbatch refuses: {said[-1].strip()[:160]}", where=str(path), near="; ".join(said[:-1])[:160], fix=_fix(asked.stderr))
    return asked.stdout.strip()


def _fix(said: str) -> str:
    """By what it complains of."""
    known = {"account": "--sbatch=--account=NAME", "partition": "sinfo lists partitions: --sbatch=--partition=NAME",
             "time limit": "--sbatch=--time=HOURS:00:00", "array": "fewer --workers", "gres": "--sbatch=--gres=gpu:1, as sinfo -o %G lists",
             "generic resource": "--sbatch=--gres=gpu:1, as sinfo -o %G lists"}  # fmt: skip
    return next((fix for word, fix in known.items() if word in said.lower()), "what the cluster wants as --sbatch=--OPTION=VALUE")


def part() -> tuple[int, int]:
    """This launcher's place in its array, and how many there are: which part of the list it begins with. (0, 1) outside of arrays."""
    told = [os.environ.get(f"SLURM_ARRAY_TASK_{name}", "") for name in ("ID", "MIN", "COUNT")]
    if not all(re.fullmatch(r"[0-9]{1,7}", text) for text in told):
        return 0, 1
    place, least, count = map(int, told)
    return (place - least, count) if 0 <= place - least < count else (0, 1)


def script(words: list[str], library: Path, size: int, options: list[str]) -> str:
    """The batch script. Its launchers save at SIGTERM and are queued again; every word is quoted."""
    if bad := next((option for option in options if not option.startswith("--") or "\n" in option), None):
        raise Mistake(f"{bad[:60]!r} is no option of sbatch", where="--sbatch", near="--sbatch=--partition=gpu --sbatch=--gres=gpu:1")
    place = library.absolute()
    if "\n" in str(place) or "\r" in str(place):
        raise Mistake("sbatch cannot be told of a folder with a line break in its name", where="--out", fix="another --out")
    output = str(place).replace("%", "%%")
    own = [f"--array=0-{size - 1}", "--requeue", f"--signal=B:TERM@{GRACE}", "--open-mode=append", f"--output={output}/slurm-%a.txt",
           f"--job-name=dream3d-{place.name}"]  # fmt: skip
    root = Path(dream3d.__file__).parent.parent
    code = f"import sys; sys.path.append({str(root)!r}); from dream3d.cli import main; sys.exit(main())"
    command = shlex.join([sys.executable, "-c", code, "batch", *words])
    head = "".join(f"#SBATCH {option}\n" for option in [*map(shlex.quote, own), *options])
    return f"#!/bin/bash\n{head}{BODY.replace('FOLDER', shlex.quote(str(Path.cwd()))).replace('COMMAND', command)}"


BODY = """cd FOLDER
COMMAND &
child=$!
trap 'kill -TERM $child' TERM INT
while :; do
    wait $child
    code=$?
    kill -0 $child 2>/dev/null || break
done
if [ $code -eq 143 ]; then scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"; fi
exit $code
"""
