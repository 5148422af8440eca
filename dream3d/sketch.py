"""What a run would do, told before it does anything: the configuration with the origin of every value, schedules as curves, memory.

All of it is YAML: what is not configuration is a comment, so the text reruns as it is.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dream3d import build, check
from dream3d.config import Config
from dream3d.estimate import memory
from dream3d.folder import Folder, read_status
from dream3d.foreign.start import told
from dream3d.recipe import join
from dream3d.schedule import Ramp, Times

BLOCKS, WIDTH = "▁▂▃▄▅▆▇█", 24


def dry_run(config: Config) -> str:
    """The whole answer of --dry-run, as YAML with comments."""
    return annotated(config) + "".join(f"# {line}".rstrip() + "\n" for line in _notes(config))


def _notes(config: Config) -> Iterator[str]:
    stages = config.stages
    for i, stage in enumerate(stages):
        yield ""
        yield f"schedules over {stage['steps']} steps" + (
            f" of stage {i + 1} of {len(stages)}" if len(stages) > 1 else ""
        )
        yield from (f"  {line}" for line in curves(stage))
    yield from ("", *memory(stages, config.values), "", *told(stages))
    yield f"run folder: {_place(config)}"


def _place(config: Config) -> str:
    path = Folder.place(config)
    status = read_status(path)
    if not status:
        return f"{path}{'' if os.path.lexists(path) else ' (not there yet)'}"
    return f"{path} ({status.get('state', 'unknown')} at step {status.get('step', 0)})"


# --- where each value is from ---------------------------------------------------------------------------------------------------


def annotated(config: Config) -> str:
    """The complete configuration, with a comment behind every value that somebody set: where."""
    text = config.text()
    lines = text.splitlines()
    defaults = _defaults(config.values)
    for path, line in _places(yaml.compose(text, Loader=yaml.SafeLoader), ""):
        if where := _origin(config, path, defaults):
            lines[line] += f"  # {where}"
    return "\n".join(lines) + "\n"


def _places(node: yaml.Node, path: str) -> Iterator[tuple[str, int]]:
    """Every value that holds no others, and the line it ends on."""
    children: list[tuple[str, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(key.value, child) for key, child in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(str(i), child) for i, child in enumerate(node.value)]
    for key, child in children:
        yield from _places(child, join(path, key))
    if not children and path:
        yield path, node.end_mark.line


def origin(config: Config, path: str) -> str:
    """Where one value was set, for people; "" where it is a default."""
    return _origin(config, path, _defaults(config.values))


def _origin(config: Config, path: str, defaults: dict[str, Any]) -> str:
    holder = path
    while holder and holder not in config.origins:
        holder = holder.rpartition(".")[0]
    if not holder or (holder != path and _same(config.values, defaults, path, holder)):
        return ""
    return short_place(config.origins[holder])


def _same(values: Any, defaults: Any, path: str, holder: str) -> bool:
    """Whether somewhere between what was set (`holder`) and `path` the value is the default of that place."""
    for depth in range(holder.count(".") + 2, path.count(".") + 2):
        part = path.split(".")[:depth]
        default = _get(defaults, part)
        if default is not _NOTHING and default == _get(values, part):
            return True
    return False


_NOTHING = object()


def _get(tree: Any, path: list[str]) -> Any:
    for key in path:
        if isinstance(tree, list) and key.isdigit() and int(key) < len(tree):
            tree = tree[int(key)]
        elif isinstance(tree, dict) and key in tree:
            tree = tree[key]
        else:
            return _NOTHING
    return tree


def _defaults(values: dict[str, Any]) -> dict[str, Any]:
    """What the same sections hold where nothing is set. What a stage sets has no default: it overrides."""
    out = {key: value for key, value in check.DEFAULTS.items() if key != "stages"}
    for key, cls in build.OPTIONS.items():
        out[key] = {name: check.plain(default) for name, (_, default) in build.option_parameters(cls).items()}
    for key in check.PLUGINS:
        chosen = values[key]
        out[key] = [_bare(key, t["type"]) for t in chosen] if isinstance(chosen, list) else _bare(key, chosen["type"])
    return out


def _bare(section: str, name: str) -> dict[str, Any]:
    known = build.signature(check.PLUGINS[section], name).parameters
    known = {**known, **build.term_parameters()} if section == "guidance" else known
    defaults = {key: check.plain(default) for key, (_, default) in known.items() if default is not build.MISSING}
    return {"type": check.DEFAULTS[section]["type"], **defaults}


def short_place(origin: str) -> str:
    """An origin without what everybody knows: bundled recipes by name, files from here on, overrides without their text."""
    if origin.startswith("command line"):
        return "command line"
    path, colon, line = origin.rpartition(":")
    for root in (build.place("configs"), Path.cwd()):
        if Path(path).is_relative_to(root):
            path = str(Path(path).relative_to(root))
            break
    return "".join(c if c.isprintable() else "?" for c in path + colon + line)


# --- schedules ------------------------------------------------------------------------------------------------------------------


def curves(settings: Any, path: str = "") -> list[str]:
    """One line per schedule of a complete stage that changes, then one that lists those that do not."""
    found = list(ramps(settings))
    width = max((len(name) for name, ramp in found if _moves(ramp)), default=0)
    lines = [f"{name:{width}}  {ramp(0.0):>8.4g} {curve(ramp)} {ramp(1.0):.4g}" for name, ramp in found if _moves(ramp)]
    still = ", ".join(f"{name} {ramp.start:g}" for name, ramp in found if not _moves(ramp))
    return [*lines, *([f"constant: {still}"] if still else [])]


def _moves(ramp: Ramp) -> bool:
    return ramp.end is not None and ramp.end != ramp.start


def curve(ramp: Ramp, width: int = WIDTH) -> str:
    """`width` blocks between the lowest and the highest value."""
    values = [ramp(i / (width - 1)) for i in range(width)]
    low, span = min(values), max(values) - min(values) or math.inf
    return "".join(BLOCKS[min(int((v - low) / span * len(BLOCKS)), len(BLOCKS) - 1)] for v in values)


def ramps(settings: dict[str, Any]) -> Iterator[tuple[str, Ramp]]:
    """Every schedule in a complete stage, by its path."""
    for section, catalogue in check.PLUGINS.items():
        entries = settings[section] if isinstance(settings[section], list) else [settings[section]]
        for i, entry in enumerate(entries):
            known = build.signature(catalogue, entry["type"]).parameters
            known = {**known, **build.term_parameters()} if section == "guidance" else known
            base = f"{section}.{i}" if isinstance(settings[section], list) else section
            for key, (kind, _) in known.items():
                yield from _of(f"{base}.{key}", build.typed(entry.get(key), kind, key) if key in entry else None)
    for key, value in settings["penalties"].items():
        yield f"penalties.{key}", Ramp.parse(value)
    clip = settings["clip"]
    each = clip if isinstance(clip, dict) and "start" not in clip else {"": clip}
    yield from ((join("clip", key).rstrip("."), Ramp.parse(v)) for key, v in each.items() if v is not None)


def _of(path: str, value: Any) -> Iterator[tuple[str, Ramp]]:
    if isinstance(value, Ramp):
        yield path, value
    elif isinstance(value, Times):
        same = value.low == value.high
        yield from [(path, value.low)] if same else [(f"{path} from", value.low), (f"{path} to", value.high)]
