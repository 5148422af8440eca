"""dream3d from Python: `generate` makes an asset, `load` reads a run back, `execute` takes a claimed folder to its end."""

import json
import sys
from pathlib import Path

import torch

from dream3d import build, checkpoint
from dream3d.config import check_vocabulary
from dream3d.config import load as load_config
from dream3d.errors import Mistake
from dream3d.folder import Folder, last_metrics
from dream3d.progress import Display
from dream3d.run import Interrupted, Result, Run


def execute(folder: Folder, *, quiet: bool = False) -> Result:
    """Run a claimed folder to its end; status.json says how it ended, whatever happens."""
    try:
        with Display(quiet=quiet) as show:
            run = Run(folder, show)
            return run.go()
    except Interrupted as stop:
        folder.report("interrupted", run.step, f"{stop}: saved; the same command, or resume, continues")
        raise
    except KeyboardInterrupt:
        folder.report("interrupted", run.step, "stopped at once; the last checkpoint continues")
        raise
    except torch.OutOfMemoryError as error:
        problem = Mistake(f"out of memory: {str(error).splitlines()[0]}", fix="lower cameras.batch", code=4)
        _fail(folder, problem)
        raise problem from error
    except Exception as error:
        _fail(folder, error)
        raise
    finally:
        folder.close()


def _fail(folder: Folder, error: Exception) -> None:
    try:
        folder.report("failed", folder.status().get("step", 0), str(error) or type(error).__name__)
    except (OSError, Mistake):  # a full disk must not hide the first error
        pass


def generate(prompt: str, config: str = "sds-gaussian", *, quiet: bool = True, **overrides) -> Result:
    """Make an asset: generate("a red car", seed=1, out="car", **{"guidance.scale": 10}). A finished run is read, not repeated."""
    settings = [f"prompt={prompt}", *(f"{key}={_yaml(value)}" for key, value in overrides.items())]
    found = load_config(config, settings)
    check_vocabulary(found)
    folder = Folder(Folder.place(found), found)
    if folder.status().get("state") == "done":
        folder.close()
        return load(folder.path)
    return execute(folder, quiet=quiet)


def load(path: str | Path) -> Result:
    """A run, finished or not, as it was at its newest checkpoint: its scene renders."""
    path = Path(path)
    if not (path / "config.yaml").is_file():
        raise Mistake("this is not a run folder: it has no config.yaml", where=str(path))
    config = load_config(str(path / "config.yaml"))
    found = checkpoint.newest(path / "checkpoints", lambda text: print(text, file=sys.stderr))
    if found is None:
        raise Mistake("this run has no checkpoint yet", where=str(path), fix=f"python launch.py resume {path}")
    about, state = found
    scene = build.scene(config.stages[about["stage"]], config.values["seed"], about["stage"])
    scene.restore(state["scene"])
    status = json.loads((path / "status.json").read_text(encoding="utf-8"))
    exports = {name: path / file for name, file in status.get("exports", {}).items()}
    return Result(path, exports, scene, last_metrics(path))


def _yaml(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)
