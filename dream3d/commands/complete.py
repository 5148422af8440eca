"""`complete -- "LINE"`: what may stand at the end of a command line, one a line, for the scripts of `completion`."""

import shlex
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dream3d import build, catalogue, check
from dream3d.commands import COMMANDS
from dream3d.errors import Mistake

OPTIONS = {
    "generate": ["--config", "--dry-run", "--plugin", "--quiet", "--version"], "resume": ["--plugin", "--quiet"],
    "export": ["--format", "--faces", "--texture", "--size", "--origin", "--up", "--lods", "--print-size-mm", "--web", "--rebake",
               "--source-up", "--out", "--list", "--plugin", "--quiet"],
    "view": ["--no-open", "--live", "--port", "--listen", "--source-up", "--out", "--plugin"],
    "list": ["--json", "--plugin"], "describe": ["--json", "--plugin"],
    "cite": ["--config", "--plugin"], "doctor": ["--json"], "config": ["--origins", "--plugin"], "completion": ["--launch"],
    "new": ["--here"], "ui": ["--port", "--listen", "--password", "--open"],
    "convert": ["--to", "--out", "--steps", "--from-scratch", "--merge", "--mask", "--dry-run", "--plugin", "--quiet"],
    "compare": ["--guidance", "--recipes", "--prompts", "--seeds", "--prior", "--steps", "--out", "--background", "--plugin"],
}  # fmt: skip
EXPORT = {"--format": [], "--faces": ["5k", "20k", "50k"], "--texture": ["1k", "2k", "4k"],
          "--origin": ["base", "center"], "--up": ["y", "z"], "--source-up": ["y", "z", "-y"]}  # fmt: skip
PLAIN_VALUES = {"device": ["auto", "cpu", "cuda"], "seed": [], "steps": [], "prompt": [], "negative": [], "out": []}


def main(words: list[str]) -> int:
    """Print candidates for the last word of the line; nothing, and success, where nothing is known."""
    line = words[-1] if words and words != ["--"] else ""
    try:
        found = candidates(line)
    except Mistake:  # half a command line is rarely right
        found = []
    print("".join(f"{word}\n" for word in found), end="")
    return 0


def candidates(line: str) -> list[str]:
    """What the last word of a line may become; a line that ends with a space has an empty last word."""
    words = _split(line)
    done, last = words[:-1], words[-1] if words else ""
    program = 2 if len(done) > 1 and done[1].endswith("launch.py") else 1
    return [word for word in _choices(done[program:], last) if word.startswith(last)]


def _split(line: str) -> list[str]:
    """The words of an unfinished line: an open quote is closed."""
    for end in ("", '"', "'"):
        try:
            return [*shlex.split(line + end), *([""] if line[-1:].isspace() and not end else [])]
        except ValueError:
            continue
    return line.split()


def _choices(done: list[str], last: str) -> Iterable[str]:
    command = done[0] if done and done[0] in COMMANDS else "generate"
    if done and done[-1] == "--config":
        return recipes()
    if command == "convert" and done[-1] in ("--to", "--merge", "--mask"):
        return {"--to": catalogue.names("renderers"), "--merge": _folders(), "--mask": ["cut"]}[done[-1]]
    if command == "export" and done[-1] in EXPORT:
        return EXPORT[done[-1]] or catalogue.names("formats")
    if last.startswith("-"):
        return [*OPTIONS.get(command, []), "--help"]
    first = [*COMMANDS] if not done else []
    match command:
        case "generate" | "export":
            given = _folders() if command == "export" and len(done) == 1 else []
            return [*first, *given, *_overrides(command, done, last)]
        case "convert":
            return _folders() if len(done) == 1 else _converted(done, last)
        case "resume" | "view":
            return _folders()
        case "list":
            return catalogue.KINDS
        case "describe" | "cite":
            more = [*recipes(), *_folders()] if command == "cite" else []
            kinds = [kind for kind in catalogue.KINDS if kind != "configs" or not more]
            return [*more, *dict.fromkeys(name for kind in kinds for name in catalogue.names(kind))]
        case "config":
            return ["show", "diff", "schema"] if len(done) == 1 else [*recipes(), *_folders()]
        case "bench":
            from dream3d.commands.bench import BENCHES

            return BENCHES if len(done) == 1 else []
        case "completion":
            return ["bash", "zsh", "fish"]
        case "new":
            return ["guidance"] if len(done) == 1 else []
        case "help":
            return COMMANDS
    return first


def recipes() -> list[str]:
    """Bundled recipes, and YAML files here."""
    return [*(f"{name}.yaml" for name in catalogue.names("configs")), *sorted(str(path) for path in Path().glob("*.yaml"))]


def _folders() -> list[str]:
    """Run folders, the newest first."""
    found = [path.parent for pattern in ("*/config.yaml", "runs/*/*/config.yaml") for path in Path().glob(pattern)]
    return [str(path) for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


# --- section.key=value --------------------------------------------------------------------------------------------------------------


def _overrides(command: str, done: list[str], last: str) -> list[str]:
    path, equals, _ = last.partition("=")
    if command == "export":
        known = {key: kind for key, (kind, _) in build.option_parameters(build.OPTIONS["export"]).items()}
    else:
        known = {**_plain(), **_settings(_types(done))}
    if equals:
        return [f"{path}={value}" for value in _values(path, known.get(path))]
    return [f"{key}=" for key in known if "." in last or "." not in key] + (_stubs() if "." not in last and command != "export" else [])


def _converted(done: list[str], last: str) -> list[str]:
    """Settings of the representation after --to."""
    name = done[done.index("--to") + 1] if "--to" in done[:-1] else ""
    known = build.signature("renderers", name).parameters if name in build.available("renderers") else {}
    path, equals, _ = last.partition("=")
    if equals:
        return [f"{path}={value}" for value in _values(path, known[path][0] if path in known else None)]
    return [*(f"{key}=" for key in known), "seed=", "device=", "--to"]


def _plain() -> dict[str, Any]:
    return dict.fromkeys(PLAIN_VALUES)


def _stubs() -> list[str]:
    """Sections, to be continued after the dot."""
    return [f"{section}." for section in (*check.PLUGINS, *build.OPTIONS, "penalties", "clip")]


def _types(done: list[str]) -> dict[str, str]:
    """The type of every section under the recipe and the overrides so far."""
    from dream3d import config

    chosen = {section: check.DEFAULTS[section]["type"] for section in check.PLUGINS}
    if "--config" in done[:-1]:
        values = config.load(done[done.index("--config") + 1]).values
        chosen |= {section: values[section]["type"] for section in check.PLUGINS if isinstance(values[section], dict)}
    for word in done:
        path, equals, value = word.partition("=")
        section = path.removesuffix(".type")
        if equals and section in check.PLUGINS and value in build.available(check.PLUGINS[section]):
            chosen[section] = value
    return chosen


def _settings(chosen: dict[str, str]) -> dict[str, Any]:
    """Every path of a configuration with these types, and what it may be."""
    out: dict[str, Any] = {}
    for section, name in chosen.items():
        known = build.signature(check.PLUGINS[section], name).parameters
        known = {**known, **build.term_parameters()} if section == "guidance" else known
        names = typing.Literal[tuple(build.available(check.PLUGINS[section]))]
        out |= {section: names, f"{section}.type": names, **{f"{section}.{key}": kind for key, (kind, _) in known.items()}}
    for section, cls in build.OPTIONS.items():
        out |= {f"{section}.{key}": kind for key, (kind, _) in build.option_parameters(cls).items()}
    return out | {f"penalties.{name}": None for name in build.penalties()} | {f"clip.{name}": None for name in check.CLIPPED}


def _values(path: str, kind: Any) -> list[str]:
    """Values worth proposing: of a choice, of true or false."""
    if path == "guidance.sees":
        return build.sees()
    if kind is bool:
        return ["true", "false"]
    if typing.get_origin(kind) is typing.Literal:
        return [str(value) for value in typing.get_args(kind)]
    return PLAIN_VALUES.get(path, [])
