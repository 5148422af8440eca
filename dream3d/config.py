"""A configuration: one YAML recipe, at most one it extends, overrides from the command line. Checked whole, without torch.

Prompts are never parsed as YAML: `prompt` and `negative` arrive exactly as they were written.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dream3d import __version__, build, check
from dream3d.check import CLIPPED, DEFAULTS, PER_RUN, PLAIN, PLUGINS, merge, plain  # noqa: F401
from dream3d.errors import Mistake, choices, nearest
from dream3d.foreign.start import stamped
from dream3d.recipe import VERBATIM, holds, override, put, read
from dream3d.references import resolve
from dream3d.typed import short

SET = ("command line", "argument")  # how places outside files begin


@dataclass(frozen=True)
class Config:
    """A checked configuration. `values` is complete (defaults filled in) and plain; `origins` says where each path was set."""

    values: dict[str, Any]
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Complete settings of each stage, with its own `steps`; a recipe without stages has one."""
        return check.stages(self.values)

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits that change with everything that changes the result."""
        same = {k: v for k, v in self.values.items() if k not in ("out", "keep", "track")}
        return hashlib.sha256(json.dumps(same, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:8]

    def where(self, path: str) -> str:
        """Where `path` was written: by the last override of it or of something in it, else in the file, else what holds it."""
        inside = [p for p in self.origins if p == path or p.startswith(path + ".")]
        late = [p for p in inside if self.origins[p].startswith(SET)]
        while path and not inside:
            path = path.rpartition(".")[0]
            inside = [path] if path in self.origins else []
        return self.origins[late[-1] if late else inside[0]] if inside else ""

    def text(self) -> str:
        """The complete configuration as YAML; loading it gives the same configuration."""
        told = {k: v for k, v in self.values.items() if k not in VERBATIM or v is not None}  # a written null is a word
        return yaml.dump(told, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Strings with line breaks of any kind are quoted and escaped: YAML folds the bare ones."""


def _string(dumper: _Dumper, text: str) -> yaml.Node:
    style = '"' if len(text.splitlines()) > 1 or text.splitlines() != [text] else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def locate(name: str, where: str = "--config") -> Path:
    """The path if it exists, else the bundled recipe of that name, with or without .yaml."""
    bundled = build.place("configs") / (name if name.endswith(".yaml") else f"{name}.yaml")
    for path in (Path(name), bundled):
        if there(path, "is_file"):
            return path
    raise _not_found(name, where)


def _not_found(name: str, where: str) -> Mistake:
    """What lies where a configuration was looked for, and the nearest names there and among the recipes."""
    path = Path(name)
    recipes = sorted(p.name for p in build.place("configs").glob("*.yaml"))
    folder = name if name and there(path, "is_dir") else ""
    beside = _yaml_files(path if folder else path.parent)
    near = ", ".join(beside[:3] if folder else nearest(path.stem, {Path(n).stem for n in beside}) and _close(path, beside))
    problem = f"there is no configuration {name!r}" if name.strip() else "the name of the configuration is empty"
    if folder:
        problem = f"{name!r} is a folder; a configuration is a YAML file"
    elif name and there(path, "exists"):
        problem = f"{name!r} is not a file that can be read"
    elif " " in name.strip():
        near = near or f'--config sds-gaussian.yaml prompt="{name}"'
    near = near or choices(path.stem or "sds-gaussian", recipes)
    return Mistake(problem, where=where, near=near, fix="name a YAML file, or a recipe that python launch.py list configs shows")


def _close(path: Path, files: list[str]) -> list[str]:
    names = nearest(path.stem, {Path(name).stem for name in files})
    return [name for name in files if Path(name).stem in names][:3]


def _yaml_files(folder: Path) -> list[str]:
    try:
        return sorted(str(p) for p in folder.glob("*.y*ml") if p.is_file())[:200]
    except (OSError, ValueError):
        return []


def there(path: Path, what: str = "is_file") -> bool:
    """is_file, is_dir or exists; a name that cannot be one is none of them."""
    try:
        return getattr(path, what)()
    except (OSError, ValueError):
        return False


def load(name: str, overrides: list[str] | tuple[str, ...] = (), settings: dict[str, Any] | None = None) -> Config:
    """Read, extend, override by "path=value" texts or by {path: value}, complete, check. Raises Mistake for what is wrong first."""
    path = locate(name)
    try:
        return _load(path, overrides, settings or {})
    except Mistake as mistake:
        raise mistake.completed(where=str(path), fix=_newer(path)) from None


def _load(path: Path, overrides: list[str] | tuple[str, ...], settings: dict[str, Any]) -> Config:
    values, origins = read(path)
    if (base := values.pop("extends", None)) is not None:
        values, origins = _extend(base, path, values, origins)
    for text in overrides:
        override(values, origins, text)
    for key, value in settings.items():
        put(values, origins, str(key), _named(value), f"argument {key!r}")
    values.setdefault("name", path.stem)
    found = Config(values, origins)
    found = dataclasses.replace(found, values=stamped(check.complete(resolve(values, found.where), found.where), found.where))
    try:
        json.dumps(found.values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Mistake("a value holds bytes that are not UTF-8", where=str(path)) from None
    return found


def _named(value: Any) -> Any:
    """Settings from Python with text for every key, as YAML has them."""
    if isinstance(value, dict):
        return {str(key): _named(inner) for key, inner in value.items()}
    return [_named(inner) for inner in value] if isinstance(value, list) else value


def _newer(path: Path) -> str:
    """What to do where a run's own configuration is not understood because another version wrote it."""
    try:
        version = json.loads((path.parent / "status.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    same = path.name != "config.yaml" or version == __version__
    return "" if same else f"dream3d {version} wrote this run, this is {__version__}: continue it with that version"


def _extend(base: Any, path: Path, values: dict, origins: dict) -> tuple[dict, dict]:
    at = origins["extends"]
    if not isinstance(base, str):
        raise Mistake(f"extends: expected the name of one recipe, but it is {short(base)}", where=at,
                      fix="extends: sds-gaussian.yaml")  # fmt: skip
    beside = path.parent / base
    below, lines = read(beside if there(beside, "is_file") else locate(base, at))
    if "extends" in below:
        raise Mistake(f"{base} extends another recipe itself: one level only", where=at,
                      fix=f"extend what {base} extends, and copy what it adds")  # fmt: skip
    merged = merge(below, values)  # a section of another type replaces the one below, and what was written there
    return merged, {place: line for place, line in lines.items() if holds(merged, place)} | origins
