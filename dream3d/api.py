"""dream3d from Python: `generate` makes an asset, `load` reads a run back, `execute` takes a claimed folder to its end."""

import contextlib
import sys
from pathlib import Path

import torch

from dream3d import assemble, checkpoint
from dream3d.config import load as load_config
from dream3d.errors import Mistake
from dream3d.export.report import write_report
from dream3d.folder import Folder, check_untouched, last_metrics, read_status
from dream3d.host import Host, Lost
from dream3d.needs import check_needs
from dream3d.progress import Display
from dream3d.run import Interrupted, Result, Run
from dream3d.vocabulary import check_vocabulary


def execute(folder: Folder, *, quiet: bool = False, host: Host | None = None) -> Result:
    """Run a claimed folder to its end; status.json says how it ended, whatever happens. Of a run that the user's mistake stops
    before its first step nothing is left. `host`: who makes many runs; once the folder is another's nothing is written any more, and
    Lost is raised, or what came of writing where somebody else does."""
    run, host = None, host or Host()
    try:
        with Display(quiet=quiet) as show:
            run = Run(folder, show, host)
            return run.go()
    except Exception as error:
        if isinstance(error, Lost) or host.lost():
            raise
        if (told := _stopped(folder, run, error)) is error:
            raise
        raise told from error
    except KeyboardInterrupt:
        folder.report("interrupted", run.step, "stopped at once; the last checkpoint continues")
        raise
    finally:
        folder.close()


def _stopped(folder: Folder, run: Run | None, error: Exception) -> Exception:
    """Write down how a run ended; the error to raise."""
    if isinstance(error, Interrupted):
        folder.report("interrupted", run.step, f"{error}: saved; the same command, or resume, continues")
        _tell(folder)
        return error
    full = ("out of memory", "allocate memory", "not enough memory")  # torch has no class for it on the CPU
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or isinstance(error, RuntimeError) and any(w in str(error) for w in full):
        error = Mistake(f"out of memory: {(str(error) or 'MemoryError').splitlines()[0]}", fix="lower cameras.batch", code=4)
    if isinstance(error, Mistake) and error.code in (2, 3) and folder.fresh and (run is None or run.step == 0):
        folder.discard()
    else:
        _fail(folder, error)
    return error


def _fail(folder: Folder, error: Exception) -> None:
    try:
        folder.report("failed", folder.status().get("step", 0), str(error) or type(error).__name__)
    except (OSError, Mistake):  # a full disk must not hide the first error
        pass
    _tell(folder)


def _tell(folder: Folder) -> None:
    """report.html of a run that did not end; whatever goes wrong with it must not hide why the run stopped."""
    try:
        write_report(folder.path)
    except Exception as error:
        with contextlib.suppress(OSError, Mistake):
            folder.tell(f"report.html could not be written: {error}")


def generate(
    prompt: str | list[str], config: str | Path = "sds-gaussian", *, quiet: bool = True, **overrides
) -> Result:
    """Make an asset: generate("a red car", seed=1, out="car", **{"guidance.scale": 10}). A finished run is read, not repeated."""
    found = load_config(str(config), settings={"prompt": prompt, **{key: _plain(v) for key, v in overrides.items()}})
    check_vocabulary(found)
    check_needs(found)
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
    check_untouched(path, config)
    found = checkpoint.newest(path / "checkpoints", lambda text: print(text, file=sys.stderr))
    if found is None:
        raise Mistake("this run has no checkpoint yet", where=str(path), fix=f"python launch.py resume {path}")
    scene = assemble.saved(config, *found, path)
    exports = {name: path / file for name, file in read_status(path).get("exports", {}).items()}
    return Result(path, exports, scene, last_metrics(path))


def _plain(value):
    """What people pass from Python as the values a configuration holds: paths as text, numpy and torch numbers as numbers."""
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value
