# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside Blender (`python worker.py -- REQUEST ANSWER`, or blender --background --python worker.py -- REQUEST ANSWER).

REQUEST is a JSON file {"tasks": [{"do": NAME, ...}, ...]}; ANSWER will be {"blender": VERSION, "answers": [...]}, one for every task, or
{"error": TEXT} where one failed. Names are functions of tasks.py. It imports nothing of the program that asks.
"""

import json
import os
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.dont_write_bytecode = True


def main(request: Path, answer: Path) -> int:
    try:
        import bpy
        import tasks

        known = {name: getattr(tasks, name) for name in tasks.KNOWN}
        told = json.loads(request.read_text(encoding="utf-8"))["tasks"]
        result = {"blender": bpy.app.version_string, "answers": [known[task.pop("do")](**task) for task in told]}
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"[:2000], "trace": traceback.format_exc()[-4000:]}
    part = answer.with_suffix(".part")
    part.write_text(json.dumps(result), encoding="utf-8")
    os.replace(part, answer)
    return 0


if __name__ == "__main__":
    paths = sys.argv[sys.argv.index("--") + 1 :]
    code = main(*map(Path, paths))
    sys.stdout.flush()
    os._exit(code)  # nothing of Blender is worth waiting for: the answer is written
