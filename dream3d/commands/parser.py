"""argparse whose complaints are Mistakes: what was wrong, the nearest right option, the help that tells more."""

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from dream3d.errors import Mistake, choices, nearest

SAMPLES = {"prompt": '"a red car"', "seed": "3", "steps": "300", "out": "FOLDER"}


class Parser(argparse.ArgumentParser):
    """Of one command; `examples` are lines without the program's name, shown below the options."""

    def __init__(self, command: str, description: str, examples: list[str]):
        lines = "\n".join(f"  python launch.py {line}" for line in examples)
        super().__init__(f"dream3d {command}".strip(), description=description.replace("%", "%%"), allow_abbrev=False,
                         epilog=f"examples:\n{lines}".replace("%", "%%"),
                         formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
        self.command = command

    def error(self, message: str) -> NoReturn:
        """Raise a Mistake instead of printing and leaving."""
        raise Mistake(self._problem(message), where="command line", near=self._near(message), fix=self._fix(message))

    def _problem(self, message: str) -> str:
        if found := re.match(r"unrecognized arguments: (.*)", message, re.DOTALL):
            return f"nothing is known about {found[1]}"
        if found := re.match(r"argument ([^:]+): expected one argument", message):
            return f"{found[1]} needs a value"
        if found := re.match(r"argument ([^:]+): invalid (int|float) value: (.*)", message, re.DOTALL):
            return f"{found[1]}: expected a {'whole ' if found[2] == 'int' else ''}number, but it is {found[3]}"
        if found := re.match(r"the following arguments are required: (.*)", message):
            return f"what is missing: {found[1].removesuffix(', key=value')}"
        return message

    def _near(self, message: str) -> str:
        if found := re.match(r"argument (--source-up): expected one argument", message):
            return f"{found[1]}=-y"  # without the equals sign it reads as a flag
        found = re.match(r"unrecognized arguments: (-[^\s=]*)", message)
        if not found:
            return ""
        known = [option for option in self._option_string_actions if option.startswith("--")]
        return ", ".join(nearest(found[1], known) or [option for option in known if option.startswith(f"-{found[1][:2]}")])

    def _fix(self, message: str) -> str:
        found = re.match(r"unrecognized arguments: --?([^\s=]+)", message)
        if found and not self.command and (key := setting(found[1])):
            return f"settings are written without dashes: {key}={SAMPLES.get(key, 'VALUE')}"
        return f"python launch.py {self.command} --help".replace("  ", " ")


def setting(word: str) -> str:
    """The key of a configuration that a word is, or was in another tool; "" where it is none."""
    from dream3d import check, hints

    key = word.strip(":").replace("-", "_")
    key = hints.ALIASES.get(key, key)
    return key if key.split(".")[0] in check.DEFAULTS else ""


def one_of(names: Iterable[str], what: str) -> Callable[[str], str]:
    """The `type` of an argument that is one of a few words; others raise a Mistake with the nearest."""
    names = list(names)

    def check(word: str) -> str:
        if word not in names:
            raise Mistake(f"there is no {what} {word!r}", where="command line", near=choices(word, names))
        return word

    return check


def source_up(parser: Parser) -> None:
    """--source-up, of commands that read files."""
    about = "in a file that is read (y; of a PLY z); --source-up=-y: y points down"
    parser.add_argument("--source-up", type=one_of(["y", "z", "-y"], "axis that points up"), metavar="AXIS", help=about)


def some(path: str) -> Path:
    """The `type` of an argument that is a path; "", as of a variable that is not set, would be the folder one is in."""
    if not path:
        raise Mistake("an argument that is a path is empty", where="command line", near="--out .")
    return Path(path)


def common(parser: Parser) -> None:
    """--plugin and --quiet, of every command that builds or runs something."""
    plugin(parser)
    parser.add_argument("--quiet", action="store_true", help="print nothing but what was made, and errors")


def plugin(parser: Parser) -> None:
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="MODULE", help="a dotted module with one new class in it"
    )


def plug(modules: list[str]) -> None:
    """Make the classes of --plugin known."""
    from dream3d import build

    for module in modules:
        build.add_plugin(module)


def stored(run: Path, overrides: list[str] | None = None):
    """The configuration in a run folder."""
    from dream3d import config

    if not config.there(run / "config.yaml"):
        raise Mistake("this is not a run folder: it has no config.yaml", where=str(run), near=_runs(run),
                      fix="runs lie in runs/RECIPE/, or where out= said")  # fmt: skip
    return config.load(str(run / "config.yaml"), overrides or [])


def _runs(run: Path) -> str:
    """Run folders with a similar name, else the newest."""
    found = {str(path.parent): path.stat().st_mtime for path in Path("runs").glob("*/*/config.yaml")}
    newest = sorted(found, key=found.get, reverse=True)
    return ", ".join(nearest(str(run), found) or newest[:2])
