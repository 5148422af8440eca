"""Questions to Blender: a JSON file there, a JSON file back, a process of its own between them.

No shell; paths are JSON, not words of a command; a time limit for the whole process group; of what it prints only the end is kept; of
what it answers at most ANSWER bytes are read. The scripts that it runs lie in assets/blender, under Blender's licence.
"""

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import Any

from dream3d import build
from dream3d.blender import inside
from dream3d.blender.find import FIX, command
from dream3d.errors import Mistake

SECONDS = 300.0
ANSWER, PRINTED, BLOCK = 4_000_000, 32, 2048  # bytes; blocks of the end of what is printed; bytes of one
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "USERPROFILE", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")


def ask(tasks: list[dict[str, Any]], *, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """What each task answers; "do" names it (a function of assets/blender/tasks.py), the other keys are its arguments, paths as Path.
    Raises Mistake where there is no such file, or one that names others outside its folder; no Blender; where it fails or takes longer."""
    for path in (Path(task["file"]) for task in tasks):
        if not path.is_file():
            raise Mistake(f"there is no file {path.name!r}", where=str(path))
        inside.check(path)
    start, script = command(), build.place("assets") / "blender" / "worker.py"
    with tempfile.TemporaryDirectory(prefix="dream3d-blender-", ignore_cleanup_errors=True) as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        request.write_text(json.dumps({"tasks": [_absolute(task) for task in tasks]}), encoding="utf-8")
        code, printed = _run([*start, str(script.resolve()), "--", str(request), str(answer)], Path(folder), seconds)
        told = _answer(answer)
    if told is None:
        raise Mistake(f"Blender ended without an answer (exit code {code}): {_last(printed)}", where=start[0], fix=FIX, code=3)
    if "error" in told:
        raise Mistake(f"Blender could not do it: {told['error']}", where=", ".join(str(task["do"]) for task in tasks), code=3)
    if not isinstance(told.get("answers"), list) or len(told["answers"]) != len(tasks):
        raise Mistake("Blender answered something else than was asked", where=start[0], code=3)
    return told["answers"]


def _absolute(task: dict[str, Any]) -> dict[str, Any]:
    """Paths that mean the same in another folder."""
    return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in task.items()}


def _answer(path: Path) -> dict[str, Any] | None:
    """What was answered; None where it is no JSON object, or a huge one."""
    try:
        with open(path, "rb") as file:
            data = file.read(ANSWER + 1)
        told = json.loads(data) if len(data) <= ANSWER else None
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _run(words: list[str], folder: Path, seconds: float) -> tuple[int, str]:
    """Exit code and the end of what was printed."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
                               env=_environment(folder), start_new_session=True)  # fmt: skip
    kept: deque[bytes] = deque(maxlen=PRINTED)
    reader = threading.Thread(target=_drain, args=(process.stdout, kept), daemon=True)
    reader.start()
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise Mistake(f"Blender took longer than {seconds:g} s", where=words[0], fix="a smaller mesh: --faces 5k", code=3) from None
    finally:
        _end(process)
        reader.join(5)
    return code, b"".join(kept).decode("utf-8", "replace")


def _drain(stream: Any, kept: deque[bytes]) -> None:
    with stream:
        while block := stream.read1(BLOCK):
            kept.append(block)


def _end(process: subprocess.Popen) -> None:
    """The process and what it started, where it is still there."""
    if process.poll() is not None:
        return
    try:
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)  # its own group: start_new_session
        else:
            process.kill()
    except ProcessLookupError:
        pass
    process.wait()


def _environment(folder: Path) -> dict[str, str]:
    """Little of ours, no secrets; settings and add-ons of an empty folder instead of the user's."""
    kept = {key: os.environ[key] for key in KEPT if key in os.environ}
    return kept | {"BLENDER_USER_RESOURCES": str(folder / "user"), "PYTHONDONTWRITEBYTECODE": "1"}


def _last(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
