"""The command line. Settings are checked, the folder is claimed and its status written before torch is imported."""

import argparse
import os
import signal
import sys
import traceback
from pathlib import Path

from dream3d import __version__, build, config, vocabulary
from dream3d.errors import Mistake

EXAMPLES = """examples:
  python launch.py --config sds-gaussian.yaml prompt="a red car"
  python launch.py --config sds-gaussian.yaml prompt="a duck" seed=3 steps=300 out=duck guidance.scale=20
  python launch.py resume runs/sds-gaussian/20261121-101500-a-red-car-1f2e3d4c
  python launch.py export duck
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Mistakes are printed, not raised; so is what must be a bug of ours."""
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without emoji still shows a prompt
    try:
        command = {"resume": resume, "export": export, "generate": generate}.get(words[0] if words else "")
        return command(words[1:]) if command else generate(words)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return mistake.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("DREAM3D_DEBUG"):
            raise
        return _bug(error)


def _bug(error: Exception) -> int:
    place = traceback.extract_tb(error.__traceback__)[-1]
    print(f"error: this is a bug in dream3d: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
    print(f"  at: {place.filename}:{place.lineno}", file=sys.stderr)
    print("  fix: please report it; DREAM3D_DEBUG=1 shows the whole traceback", file=sys.stderr)
    return 1


def generate(words: list[str]) -> int:
    """A configuration and a prompt to an asset."""
    parser = argparse.ArgumentParser("dream3d", description="Text to 3D by score distillation.", epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--config", metavar="NAME", help="a YAML file, or the name of a bundled recipe")
    parser.add_argument("--dry-run", action="store_true", help="check and print the complete configuration, and stop")
    _common(parser)
    parser.add_argument("--version", action="version", version=f"dream3d {__version__}")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help='prompt="a red car", seed, steps, out, device, section.key'
    )
    options = parser.parse_intermixed_args(words)
    if options.config is None and not options.overrides:
        parser.print_help()
        return 0
    if options.config is None:
        raise Mistake("no configuration is named", fix="--config sds-gaussian.yaml")
    _plug(options.plugin)
    found = config.load(options.config, options.overrides)
    if options.dry_run:
        print(found.text(), end="")
    vocabulary.check_vocabulary(found)
    return 0 if options.dry_run else _run(found, quiet=options.quiet)


def resume(words: list[str]) -> int:
    """Continue a run where it stopped."""
    parser = argparse.ArgumentParser("dream3d resume", description="Continue a run where it stopped.")
    parser.add_argument("run", type=Path)
    _common(parser)
    options = parser.parse_args(words)
    _plug(options.plugin)
    return _run(_stored(options.run), quiet=options.quiet, path=options.run)


def export(words: list[str]) -> int:
    """Write the files of a run again, from its newest checkpoint."""
    parser = argparse.ArgumentParser(
        "dream3d export", description="Write a run's files again, from its newest checkpoint."
    )
    parser.add_argument("run", type=Path)
    _common(parser)
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of the export section: faces=5000 texture=512"
    )
    options = parser.parse_intermixed_args(words)
    _plug(options.plugin)
    _stored(options.run)
    found = _stored(options.run, [f"export.{text}" for text in options.overrides])

    from dream3d.api import load
    from dream3d.export.asset import export as write
    from dream3d.folder import lock
    from dream3d.options import Export

    facts = {"prompt": found.values["prompt"], "seed": found.values["seed"], "recipe": found.values["name"]}
    with lock(options.run):
        done = write(load(options.run).scene, options.run / "export", Export(**found.values["export"]), extras=facts)
    for path in done.values():
        print(path)
    return 0


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="MODULE", help="a dotted module with one new class in it"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but what was made, and errors")


def _plug(modules: list[str]) -> None:
    for module in modules:
        build.add_plugin(module)


def _stored(run: Path, overrides: list[str] | None = None) -> config.Config:
    if not (run / "config.yaml").is_file():
        raise Mistake("this is not a run folder: it has no config.yaml", where=str(run))
    return config.load(str(run / "config.yaml"), overrides or [])


def _run(found: config.Config, *, quiet: bool, path: Path | None = None) -> int:
    from dream3d.folder import Folder

    folder = Folder(path or Folder.place(found), found, resume=path is not None)
    if folder.status().get("state") == "done":
        folder.close()
        print(f"already done: {folder.path} (its files again: python launch.py export {folder.path})")
        return 0

    plugins = "".join(f" --plugin {module}" for module in build.plugins.values())

    def leave(number: int) -> int:
        print(f"continue with: python launch.py resume {folder.path}{plugins}", file=sys.stderr, flush=True)
        return 128 + number

    def at_once(number, frame):  # nothing may be raised into a half-done import of torch
        status = folder.status()
        if status.get("state") == "done":
            os._exit(0)
        folder.report("interrupted", status.get("step", 0), "stopped while starting; the last checkpoint continues")
        os._exit(leave(number))

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # until the run puts its own in place, which saves first
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), at_once)

    from dream3d.api import execute
    from dream3d.run import Interrupted

    try:
        result = execute(folder, quiet=quiet)
    except Interrupted as stop:
        return leave(stop.number)
    for file in result.exports.values():
        print(file)
    return 0
