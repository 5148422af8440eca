"""The command line: the first word names a command (a module of dream3d/commands), without one an asset is generated.

Each command is imported only when it is called, none of them imports torch before everything asked of it is checked.
"""

import os
import sys

OURS = ("dream3d", "guidance", "renderers", "systems")  # what of these cannot be imported is a bug, not an installation


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Mistakes are printed, not raised; so is what must be a bug of ours."""
    try:
        return _checked(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # a reader that went away (| head) is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ImportError as error:
        if os.environ.get("DREAM3D_DEBUG"):
            raise
        ours = error.name is not None and error.name.split(".")[0] in OURS
        return _bug(error) if ours else _uninstalled(error)
    except Exception as error:
        if os.environ.get("DREAM3D_DEBUG"):
            raise
        return _bug(error)


def _checked(words: list[str]) -> int:
    from dream3d.commands import run
    from dream3d.errors import Interrupted, Mistake

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without emoji still shows a prompt
    try:
        return run(words)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return mistake.code
    except Interrupted as stop:
        print(f"stopped by {stop}; what was made is saved, and the same command goes on", file=sys.stderr)
        return 128 + stop.number
    except SystemExit as stop:  # argparse leaves after --help
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return 1 if isinstance(stop.code, str) else stop.code or 0
    finally:
        sys.stdout.flush()  # a reader that went away is noticed here, not while Python shuts down


def _uninstalled(error: ImportError) -> int:
    import traceback

    print(f"error: a package is missing or broken: {' '.join(str(error).split())[:150]}", file=sys.stderr)
    place = traceback.extract_tb(error.__traceback__)[-1]
    print(f"  at: {error.name or f'{place.filename}:{place.lineno}'}", file=sys.stderr)
    print(
        "  fix: pip install -c constraints.txt -e . (python launch.py doctor tells what is installed)", file=sys.stderr
    )
    return 2


def _bug(error: Exception) -> int:
    import traceback

    place = traceback.extract_tb(error.__traceback__)[-1]
    print(f"error: this is a bug in dream3d: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
    print(f"  at: {place.filename}:{place.lineno}", file=sys.stderr)
    print("  fix: please report it; DREAM3D_DEBUG=1 shows the whole traceback", file=sys.stderr)
    return 1
