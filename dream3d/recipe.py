"""Reading a recipe: bounded YAML with the line of every value, and overrides from the command line. Nothing here knows a setting."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from dream3d.errors import Mistake
from dream3d.hints import SUFFIXES, refuse_foreign, yaml_fix

VERBATIM = ("prompt", "regions", "source", "negative", "out")  # never parsed as YAML
SHORT = {"init": "file"}  # a section that is one word means this setting; of others it is `type`
LIMITS = {"bytes": 1 << 20, "nodes": 20_000, "depth": 32}  # of a file
Where = Callable[[str], str]  # a path in a configuration to where it was written


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a YAML file and the line each was set on. Bounded in bytes, nodes and depth; no tags, no repeated keys."""
    node = _compose(_text(path), path)
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        refuse_foreign(keys, _leniently(node), f"{path}:1")
    origins: dict[str, str] = {}
    values = _Reader(path, origins).value(node, "", 0) if node is not None else {}
    if not isinstance(values, dict):
        raise Mistake("a configuration is a mapping of sections", where=f"{path}:1",
                      fix=SUFFIXES.get(path.suffix, "it looks like this: prompt: a red car"))  # fmt: skip
    return values, origins


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(LIMITS["bytes"] + 1)
        if len(data) > LIMITS["bytes"]:
            raise Mistake("this configuration is larger than 1 MiB", where=str(path), fix="keep only settings in it")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Mistake("this configuration is not UTF-8 text", where=f"{path}:{line}", fix="save it as UTF-8") from None
    except OSError as error:
        raise Mistake(f"the configuration cannot be read: {error.strerror or error}", where=str(path),
                      fix="make it readable, or name another by --config") from None  # fmt: skip


def _compose(text: str, path: Path) -> yaml.Node | None:
    loader, depth = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader, 0
    try:
        for event in yaml.parse(text, Loader=loader):  # compose recurses in C: ten thousands of brackets would end the process
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > 10 * LIMITS["depth"]:
                raise RecursionError
        return yaml.compose(text, Loader=loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = (getattr(error, "problem", None) or str(error) or "nested too deeply").splitlines()[0]
        raise Mistake(f"this is not YAML: {problem}", where=at, fix=yaml_fix(problem, path.suffix)) from None


def _leniently(node: yaml.Node, depth: int = 0) -> Any:
    """The mappings and words of a file, whatever their tags, three levels deep."""
    if isinstance(node, yaml.MappingNode) and depth < 3:
        return {k.value: _leniently(v, depth + 1) for k, v in node.value if isinstance(k, yaml.ScalarNode)}
    return node.value if isinstance(node, yaml.ScalarNode) else None


class _Reader:
    """Walks YAML nodes into plain values, noting the line of every path; `line` is false for a value of the command line."""

    def __init__(self, place: Path | str, origins: dict[str, str], *, lines: bool = True):
        self.place, self.origins, self.lines, self.nodes = place, origins, lines, 0

    def at(self, node: yaml.Node) -> str:
        return f"{self.place}:{node.start_mark.line + 1}" if self.lines else str(self.place)

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        here = self.at(node)
        self.nodes += 1
        if self.nodes > LIMITS["nodes"] or depth > LIMITS["depth"]:
            raise Mistake("this configuration is nested too deeply or repeats itself without end", where=here,
                          fix=f"at most {LIMITS['depth']} levels and {LIMITS['nodes']} values")  # fmt: skip
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
            here = self.at(key)
            if not isinstance(key, yaml.ScalarNode):
                raise Mistake("a key must be a plain word", where=here, fix="quote text that begins with [ or {")
            if key.value in result:
                first = self.origins[join(path, key.value)]
                raise Mistake(f"{key.value!r} cannot stand here: it is there already", where=here, fix=f"keep one; the first: {first}")
            if "." in key.value:
                section, _, rest = key.value.partition(".")
                raise Mistake(f"{key.value!r} cannot stand here: keys are plain words", where=here, fix=f"{section}: {{{rest}: ...}}")
            self.origins[join(path, key.value)] = here
            result[key.value] = self.value(child, join(path, key.value), depth + 1)
        return result

    def _scalar(self, node: yaml.ScalarNode, here: str) -> Any:
        try:
            return _plain_scalar(node)
        except (yaml.YAMLError, ValueError):
            fix = "remove the tag: values are plain" if node.tag.count("!") or "python" in node.tag else ""
            raise Mistake(f"{node.value[:60]!r} cannot be read as a value", where=here,
                          fix=fix or "put it between quotes if it is text") from None  # fmt: skip


def _plain_scalar(node: yaml.ScalarNode) -> Any:
    value = yaml.SafeLoader("").construct_object(node)
    if not isinstance(value, bool | int | float | str | None):
        raise ValueError(f"unsupported value {node.value!r}")
    return value


def join(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)


def holds(tree: Any, path: str) -> bool:
    """Whether there is a value at a path."""
    for key in path.split("."):
        if isinstance(tree, list) and key.isdigit() and int(key) < len(tree):
            tree = tree[int(key)]
        elif isinstance(tree, dict) and key in tree:
            tree = tree[key]
        else:
            return False
    return True


def override(values: dict, origins: dict[str, str], text: str) -> None:
    """Apply one `section.key=value`."""
    path, equals, raw = text.partition("=")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise Mistake(f"{path!r} holds bytes that are not UTF-8", where="command line", fix="type it again in UTF-8")
    if not equals or not all(path.split(".")) or path.count(".") > LIMITS["depth"]:
        fix = "section.key=value, for example guidance.scale=20" if equals else 'key=value, for example prompt="a red car"'
        near = f'prompt="{text}"' if " " in text and not equals and '"' not in text else ""
        raise Mistake(f"{text!r} is not an override", where="command line", near=near, fix=f"write {fix}")
    last = path.rpartition(".")[2]
    label = f"command line: {text if len(text) < 80 else text[:77] + '...'}"
    put(values, origins, path, raw if last in VERBATIM else _parse(raw, label), label)


def put(values: dict, origins: dict[str, str], path: str, value: Any, label: str) -> None:
    """Set one path to a value; `label` says where that came from."""
    *parents, last = path.split(".")
    holder: Any = values
    for i, key in enumerate(parents):
        holder = _enter(holder, key, ".".join(parents[: i + 1]), path, label)
    if isinstance(holder, list):
        holder[_index(holder, last, path, label)] = value
    else:
        holder[last] = value
    for stale in [p for p in origins if p == path or p.startswith(path + ".")]:
        del origins[stale]
    origins[path] = label


def _enter(holder: Any, key: str, path: str, full: str, label: str) -> Any:
    """The section that `path` names, made where it is not there; a bare word is short for {type: word}."""
    if isinstance(holder, list):
        key = _index(holder, key, path, label)
    inner = holder[key] if isinstance(holder, list) else holder.get(key)
    if isinstance(inner, bool | int | float) or isinstance(inner, str) and key in ("type", *VERBATIM):
        raise Mistake(f"{path} is one value, {inner!r}, so nothing in it has the name {full[len(path) + 1 :]!r}", where=label,
                      fix=f"set it whole: {path}=VALUE")  # fmt: skip
    if not isinstance(inner, dict | list):  # guidance: sds is short for {type: sds}
        inner = holder[key] = {SHORT.get(key, "type"): inner} if isinstance(inner, str) else {}
    return inner


def _index(holder: list, key: str, path: str, label: str) -> int:
    if key.isascii() and key.isdigit() and len(key) < 9 and int(key) < len(holder):
        return int(key)
    fix = f"name one by its number, 0 to {len(holder) - 1}" if holder else f"it is empty: set {path.rpartition('.')[0]} whole"
    raise Mistake(f"{path}: this section is a list of {len(holder)}", where=label, fix=fix)


def _parse(raw: str, label: str) -> Any:
    if len(raw) > LIMITS["bytes"]:
        raise Mistake("this value is larger than 1 MiB", where=label)
    try:
        node = yaml.compose(raw, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        problem = getattr(error, "problem", None) or "a character that cannot stand in YAML"
        raise Mistake(f"this value is not YAML: {problem}", where=label, fix="quote it twice: key='\"text\"'") from None
    return None if node is None else _Reader(label, {}, lines=False).value(node, "", 0)
