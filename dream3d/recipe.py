"""Reading a recipe: bounded YAML with the line of every value, and overrides from the command line. Nothing here knows a setting."""

from pathlib import Path
from typing import Any

import yaml

from dream3d.errors import Mistake

VERBATIM = ("prompt", "negative", "out")  # never parsed as YAML
LIMITS = {"bytes": 1 << 20, "nodes": 20_000, "depth": 32}  # of a file


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a YAML file and the line each was set on. Bounded in bytes, nodes and depth; no tags, no repeated keys."""
    try:
        if path.stat().st_size > LIMITS["bytes"]:
            raise Mistake("this configuration is larger than 1 MiB", where=str(path))
        node = yaml.compose(
            path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
        )
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{path}:{mark.line + 1}" if mark else str(path)
        raise Mistake(f"this is not YAML: {getattr(error, 'problem', None) or error}", where=at) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(f"the configuration cannot be read: {error}", where=str(path)) from None
    origins: dict[str, str] = {}
    values = _Reader(path, origins).value(node, "", 0) if node is not None else {}
    if not isinstance(values, dict):
        raise Mistake("a configuration is a mapping of sections", where=f"{path}:1", fix="prompt: a red car")
    return values, origins


class _Reader:
    """Walks YAML nodes into plain values, noting the line of every path."""

    def __init__(self, path: Path | str, origins: dict[str, str]):
        self.path, self.origins, self.nodes = path, origins, 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        here = f"{self.path}:{node.start_mark.line + 1}"
        self.nodes += 1
        if self.nodes > LIMITS["nodes"] or depth > LIMITS["depth"]:
            raise Mistake("this configuration is nested too deeply or repeats itself without end", where=here)
        if path:
            self.origins.setdefault(path, here)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, join(path, i), depth + 1) for i, child in enumerate(node.value)]
        if path.rstrip(".0123456789").rpartition(".")[2] in VERBATIM:
            return node.value
        return self._scalar(node, here)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, child in node.value:
            line = f"{self.path}:{key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode) or key.value in result or "." in key.value:
                text = key.value if isinstance(key, yaml.ScalarNode) else "a key"
                raise Mistake(f"{text!r} cannot stand here: keys are plain words, each once", where=line)
            self.origins[join(path, key.value)] = line
            result[key.value] = self.value(child, join(path, key.value), depth + 1)
        return result

    def _scalar(self, node: yaml.ScalarNode, here: str) -> Any:
        try:
            return _plain_scalar(node)
        except (yaml.YAMLError, ValueError):
            raise Mistake(f"{node.value!r} cannot be read as a value", where=here) from None


def _plain_scalar(node: yaml.ScalarNode) -> Any:
    value = yaml.SafeLoader("").construct_object(node)
    if not isinstance(value, bool | int | float | str | None):
        raise ValueError(f"unsupported value {node.value!r}")
    return value


def join(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)


def override(values: dict, origins: dict[str, str], text: str) -> None:
    """Apply one `section.key=value`."""
    path, equals, raw = text.partition("=")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise Mistake(f"{path!r} holds bytes that are not UTF-8", where="command line")
    if not equals or not path:
        raise Mistake(
            f"{text!r} is not an override", where="command line", fix='write key=value, for example prompt="a red car"'
        )
    last = path.rpartition(".")[2]
    label = f"command line: {text if len(text) < 80 else text[:77] + '...'}"
    put(values, origins, path, raw if last in VERBATIM else _parse(raw, text), label)


def put(values: dict, origins: dict[str, str], path: str, value: Any, label: str) -> None:
    """Set one path to a value; `label` says where that came from."""
    *parents, last = path.split(".")
    holder: Any = values
    for i, key in enumerate(parents):
        holder = _enter(holder, key, ".".join(path.split(".")[: i + 1]), label)
    _assign(holder, last, value, path)
    for stale in [p for p in origins if p.startswith(path + ".")]:
        del origins[stale]
    origins[path] = label


def _enter(holder: Any, key: str, path: str, label: str) -> Any:
    if isinstance(holder, list):
        if not key.isdigit() or int(key) >= len(holder):
            raise Mistake(f"{path}: this section is a list of {len(holder)}", where=label,
                          fix=f"name one by its number, 0 to {len(holder) - 1}")  # fmt: skip
        return holder[int(key)]
    if isinstance(holder.get(key), str):  # guidance: sds is short for {type: sds}
        holder[key] = {"type": holder[key]}
    if not isinstance(holder.get(key), dict | list):
        holder[key] = {}
    return holder[key]


def _assign(holder: Any, key: str, value: Any, path: str) -> None:
    if isinstance(holder, list):
        if not key.isdigit() or int(key) >= len(holder):
            raise Mistake(f"{path}: this section is a list of {len(holder)}", where="command line")
        holder[int(key)] = value
    else:
        holder[key] = value


def _parse(raw: str, text: str) -> Any:
    if len(raw) > LIMITS["bytes"]:
        raise Mistake("this value is larger than 1 MiB", where="command line")
    try:
        node = yaml.compose(raw, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise Mistake(f"the value of {text[:60]!r} is not YAML", where="command line", fix="quote it") from None
    return None if node is None else _Reader("command line", {}).value(node, "", 0)
