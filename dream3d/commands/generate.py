"""`generate`, the command without a name: a configuration and a prompt to an asset.

Settings are checked, the folder is claimed and its status written before torch is imported.
"""

import itertools
import os
import re
import signal
import sys
from pathlib import Path

from dream3d import __version__, build
from dream3d.commands import COMMANDS, stray
from dream3d.commands.parser import Parser, common, plug
from dream3d.errors import Mistake

DESCRIPTION = f"""Text to 3D by score distillation: a prompt goes in, an asset that opens in Blender comes out.

Other commands, as the first word: {", ".join(name for name in COMMANDS if name != "generate")}."""
EXAMPLES = [
    '--config sds-gaussian.yaml prompt="a red car"',
    '--config sds-gaussian.yaml prompt="a duck" seed=3 steps=300 out=duck guidance.scale=20',
    '--config sds-gaussian.yaml prompt="a duck" guidance.scale="{start: 20, end: 7.5}" --dry-run',
    "help",
]


def main(words: list[str]) -> int:
    """Check, then run (or, with --dry-run, tell what would run)."""
    parser = Parser("", DESCRIPTION, EXAMPLES)
    parser.add_argument("--config", metavar="NAME", help="a YAML file, or the name of a bundled recipe")
    parser.add_argument("--dry-run", action="store_true",
                        help="check; print the complete configuration and where each value is from, schedules, memory; stop")  # fmt: skip
    common(parser)
    parser.add_argument("--version", action="version", version=f"dream3d {__version__}")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help='prompt="a red car", seed, steps, out, device, section.key'
    )
    options = parser.parse_intermixed_args(words)
    if options.config is None and not options.overrides:
        parser.print_help()
        return 0
    if words_alone := [text for text in options.overrides if "=" not in text]:
        raise _unquoted(options.overrides) or stray(words_alone[0])
    if options.config is None:
        raise Mistake("no configuration is named", where="command line", fix="--config sds-gaussian.yaml")
    plug(options.plugin)
    return _go(options)


def _unquoted(texts: list[str]) -> Mistake | None:
    """prompt=a red car, whose quotes the shell never saw."""
    for first, text in enumerate(texts):
        rest = list(itertools.takewhile(lambda word: "=" not in word, texts[first + 1 :]))
        if rest and re.match("prompt=.", text):
            prompt = " ".join([text.removeprefix("prompt="), *rest])
            return Mistake("a prompt of several words needs quotes", where="command line", fix=f'prompt="{prompt}"')
    return None


def _go(options) -> int:
    from dream3d import config, needs, vocabulary

    found = config.load(options.config, options.overrides)
    vocabulary.check_vocabulary(found)
    needs.check_needs(found)
    if options.dry_run:
        from dream3d.foreign.start import check_init
        from dream3d.sketch import dry_run

        check_init(found)
        print(dry_run(found), end="")
        return 0
    return start(found, quiet=options.quiet)


def start(found, *, quiet: bool, path: Path | None = None) -> int:
    """Run a checked configuration in its folder, or (`path`) in the one it began in."""
    from dream3d.folder import Folder
    from dream3d.foreign.start import check_init

    folder = Folder(path or Folder.place(found), found, resume=path is not None)
    if folder.status().get("state") == "done":
        folder.close()
        print(f"already done: {folder.path} (its files again: python launch.py export {folder.path})")
        return 0

    try:
        check_init(found)
    except Mistake:
        folder.discard()
        raise

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

    try:
        from dream3d.api import execute
        from dream3d.run import Interrupted
    except ImportError:  # a package is missing: nothing has begun
        folder.discard()
        raise

    try:
        result = execute(folder, quiet=quiet)
    except Interrupted as stop:
        return leave(stop.number)
    for file in result.exports.values():
        print(file)
    return 0
