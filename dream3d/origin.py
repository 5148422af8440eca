"""What one object of a scene starts from: a file of the user's, or a run's folder. Told apart and stamped without torch, read later."""

import json

from dream3d.errors import Mistake
from dream3d.foreign.files import digest, kind
from dream3d.foreign.start import place


def stamp(name: str) -> str:
    """What such a file holds, or the newest checkpoint of such a run, as a digest. Raises Mistake where there is neither."""
    path = place(name)
    if not path.is_dir():
        kind(path)
        return digest(path)
    if not (path / "config.yaml").is_file():
        raise Mistake(f"{name!r} is a folder without config.yaml, so of no run", where=str(path), fix="a run's folder, or a GLB file")
    for checkpoint in sorted((path / "checkpoints").glob("step_*"), reverse=True):
        try:
            return str(json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged: the run itself falls back to the one before, too
    raise Mistake(f"the run {name!r} has no checkpoint yet", where=str(path), fix=f"python launch.py resume {name}")


def read(name: str, sha256: str | None):
    """What it hands over: Points, a Mesh or a Field. Raises Mistake where it is not what was stamped."""
    if sha256 is not None and stamp(name) != sha256:
        problem = f"{name!r} is not what it was when this run began"
        raise Mistake(problem, where=str(place(name)), fix="put it back, or start anew: sha256=null out=ANOTHER")
    path = place(name)
    if path.is_dir():
        from dream3d.api import load as load_run

        return load_run(path).scene.handover()
    from dream3d.foreign.load import load

    return load(path)[0]
