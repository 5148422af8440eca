"""A configuration: one YAML recipe, at most one it extends, overrides from the command line. Checked whole, without torch.

Prompts are never parsed as YAML: `prompt` and `negative` arrive exactly as they were written.
"""

import contextlib
import copy
import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dream3d import build
from dream3d.errors import Mistake, nearest
from dream3d.recipe import VERBATIM, join, override, put, read
from dream3d.references import resolve
from dream3d.schedule import Positive, Ramp, Seed, Times

CLIPPED = ["rgb", "alpha", "depth", "normal", "labels", "features"]  # dream3d.types.BUFFERS, without torch
PLUGINS = {"prior": "priors", "renderer": "renderers", "cameras": "cameras", "background": "background",
           "optimizer": "optim", "system": "systems", "guidance": "guidance"}  # fmt: skip
DEFAULTS = {"name": "", "prompt": "", "negative": "", "prior": {"type": "exact"}, "guidance": {"type": "sds"},
            "renderer": {"type": "gaussians"}, "cameras": {"type": "orbit"}, "background": {"type": "random"},
            "optimizer": {"type": "adam"}, "penalties": {}, "clip": None, "steps": 600, "stages": [], "seed": 0,
            "device": "auto", "system": {"type": "text_to_3d"}, "text": {}, "keep": {}, "export": {}, "out": None}  # fmt: skip
PER_RUN = ("name", "seed", "device", "out", "stages", "steps", "keep", "export")  # what a stage cannot change
PLAIN = {"name": str, "negative": str, "seed": Seed, "steps": int, "device": str, "out": str | None}


@dataclass(frozen=True)
class Config:
    """A checked configuration. `values` is complete (defaults filled in) and plain; `origins` says where each path was set."""

    values: dict[str, Any]
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Complete settings of each stage, with its own `steps`; a recipe without stages has one."""
        overrides = self.values["stages"] or [{}]
        merged = [_merge(self.values, {k: v for k, v in stage.items() if k != "share"}) for stage in overrides]
        return [
            _fill({**stage, "steps": n, "stages": []}) for stage, n in zip(merged, _split(self.values), strict=True)
        ]

    @property
    def hash(self) -> str:
        """Eight hexadecimal digits that change with everything that changes the result."""
        same = {k: v for k, v in self.values.items() if k not in ("out", "keep")}
        return hashlib.sha256(json.dumps(same, sort_keys=True, ensure_ascii=True).encode()).hexdigest()[:8]

    def where(self, path: str) -> str:
        """Where `path`, or the nearest part above it, was written."""
        while path and path not in self.origins:
            path = path.rpartition(".")[0]
        return self.origins.get(path, "")

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


def locate(name: str) -> Path:
    """The path if it exists, else the bundled recipe of that name, with or without .yaml."""
    bundled = build.place("configs") / (name if name.endswith(".yaml") else f"{name}.yaml")
    for path in (Path(name), bundled):
        with contextlib.suppress(OSError):  # a name too long for a file is none
            if path.is_file():
                return path
    recipes = sorted(p.name for p in build.place("configs").glob("*.yaml"))
    raise Mistake(f"there is no configuration {name!r}", where="--config", near=", ".join(nearest(name, recipes)))


def load(name: str, overrides: list[str] | tuple[str, ...] = (), settings: dict[str, Any] | None = None) -> Config:
    """Read, extend, override by "path=value" texts or by {path: value}, complete, check. Raises Mistake for what is wrong first."""
    path = locate(name)
    values, origins = read(path)
    if (base := values.pop("extends", None)) is not None:
        values, origins = _extend(str(base), path, values, origins)
    for text in overrides:
        override(values, origins, text)
    for key, value in (settings or {}).items():
        put(values, origins, key, value, f"argument {key!r}")
    values.setdefault("name", path.stem)
    found = Config(values, origins)
    found = dataclasses.replace(found, values=_check(found))
    try:
        json.dumps(found.values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Mistake("a value holds bytes that are not UTF-8", where=str(path)) from None
    return found


def _extend(base: str, path: Path, values: dict, origins: dict) -> tuple[dict, dict]:
    beside = path.parent / base
    below, lines = read(beside if beside.is_file() else locate(base))
    if "extends" in below:
        raise Mistake(f"{base} extends another recipe itself: one level only", where=origins["extends"])
    return _merge(below, values), lines | origins


def _merge(below: Any, above: Any) -> Any:
    """Mappings merge key by key; a mapping with another `type` replaces the whole section, as everything else does."""
    both = isinstance(below, dict) and isinstance(above, dict)
    if not both or ("type" in below and above.get("type", below["type"]) != below["type"]):
        return copy.deepcopy(above)
    merged = {key: _merge(below[key], above[key]) if key in below and key in above else (above | below)[key]
              for key in {**below, **above}}  # fmt: skip
    return copy.deepcopy(merged)


# --- checking -------------------------------------------------------------------------------------------------------------------


def _check(config: Config) -> dict[str, Any]:
    """Every key, name and type of the configuration and of each of its stages; returns it complete."""
    for key in config.values:
        if key not in DEFAULTS:
            raise _unknown(config, key, "", DEFAULTS)
    values = resolve(config.values, config.where)
    full = _fill(_merge(DEFAULTS, values), config)
    if not isinstance(full["stages"], list):
        raise Mistake("stages: expected a list of overrides", where=config.where("stages"))
    for i, stage in enumerate(full["stages"]):
        _check_stage(config, full, stage, i)
    if 0 in _split(full):
        raise Mistake(
            f"{full['steps']} steps are too few for {len(full['stages'])} stages", where=config.where("steps")
        )
    return full


def _split(values: dict[str, Any]) -> list[int]:
    """The steps of each stage, by their shares."""
    shares = [stage.get("share", 1.0) for stage in values["stages"] or [{}]]
    ends = [round(values["steps"] * (sum(shares[: i + 1]) / sum(shares))) for i in range(len(shares))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _check_stage(config: Config, full: dict, stage: Any, i: int) -> None:
    if not isinstance(stage, dict):
        raise Mistake(f"stages.{i}: expected a mapping of overrides", where=config.where(f"stages.{i}"))
    allowed = {"share", *DEFAULTS} - set(PER_RUN)
    for key in stage:
        if key not in allowed:
            raise _unknown(config, key, f"stages.{i}", allowed)
    if "share" in stage:
        stage["share"] = build.typed(stage["share"], Positive, f"stages.{i}.share", config.where(f"stages.{i}.share"))
    shifted = {k.removeprefix(f"stages.{i}."): v for k, v in config.origins.items() if k.startswith(f"stages.{i}.")}
    _fill(
        _merge(full, {k: v for k, v in stage.items() if k != "share"}),
        Config(full, config.origins | shifted),
    )


def _fill(values: dict[str, Any], config: Config | None = None) -> dict[str, Any]:
    """The same settings with every default written out; each is checked on the way."""
    config = config or Config(values)
    out = {key: plain(build.typed(values[key], kind, key, config.where(key))) for key, kind in PLAIN.items()}
    out["prompt"] = _prompt(values["prompt"], config)
    for key in ("prior", "renderer", "cameras", "background", "optimizer", "system"):
        out[key] = _plugin(config, key, values[key])
    terms = values["guidance"] if isinstance(values["guidance"], list) else [values["guidance"]]
    if not terms:
        raise Mistake("there is no guidance", where=config.where("guidance"), fix="guidance: {type: sds}")
    filled = [
        _plugin(config, f"guidance.{i}" if isinstance(values["guidance"], list) else "guidance", t)
        for i, t in enumerate(terms)
    ]
    out["guidance"] = filled if isinstance(values["guidance"], list) else filled[0]
    for key, cls in build.OPTIONS.items():
        out[key] = _settings(config, key, _mapping(config, key, values[key]), build.option_parameters(cls))
    out["penalties"] = _named_ramps(config, "penalties", values["penalties"], build.penalties())
    out["clip"] = _clip(config, values["clip"])
    if out["steps"] < 1:
        raise Mistake(f"steps must be at least 1, but it is {out['steps']}", where=config.where("steps"))
    out["stages"] = copy.deepcopy(values["stages"])
    return {key: out[key] for key in DEFAULTS}


def _clip(config: Config, clip: Any) -> Any:
    """None, one schedule above 0, or one per buffer."""
    if isinstance(clip, dict) and "start" not in clip:
        ramps = {k: Ramp.parse(v) for k, v in _named_ramps(config, "clip", clip, CLIPPED).items()}
    else:
        ramps = {"": build.typed(clip, Ramp | None, "clip", config.where("clip"))}
    for key, ramp in ramps.items():
        if ramp is not None and min(ramp.start, ramp.start if ramp.end is None else ramp.end) <= 0:
            raise Mistake("clip must be above 0; null is no clipping", where=config.where(join("clip", key)))
    return plain(ramps.get("", ramps))


def _prompt(value: Any, config: Config) -> str | list[str]:
    prompts = value if isinstance(value, list) else [value]
    if not prompts or not all(isinstance(p, str) and p.strip() for p in prompts):
        raise Mistake("there is no prompt", where=config.where("prompt"), fix='prompt="a red car"')
    return value


def _plugin(config: Config, path: str, settings: Any) -> dict[str, Any]:
    settings = _mapping(config, path, settings)
    catalogue = PLUGINS[path.split(".")[0]]
    default = DEFAULTS[path.split(".")[0]]["type"]
    name = build.typed(settings.get("type", default), str, f"{path}.type", config.where(f"{path}.type"))
    known = build.signature(catalogue, name, where=config.where(f"{path}.type")).parameters
    if catalogue == "guidance":
        known = {**known, **build.term_parameters()}
    filled = _settings(config, path, {k: v for k, v in settings.items() if k != "type"}, known)
    return {
        "type": name,
        **{k: v for k, v in filled.items() if k not in VERBATIM or v is not None},
    }  # a written null is a word


def _mapping(config: Config, path: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str) and path.split(".")[0] in PLUGINS:
        return {"type": value}
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Mistake(f"{path}: expected a mapping, but it is {value!r}", where=config.where(path))
    return value


def _settings(config: Config, path: str, given: dict[str, Any], known: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """Given settings checked against known parameters, completed by their defaults."""
    for key in given:
        if key not in known:
            raise _unknown(config, key, path, known)
    out = {}
    for key, (kind, default) in known.items():
        if key not in given and default is build.MISSING:
            raise Mistake(f"{path}.{key} is missing", where=config.where(path))
        where = config.where(f"{path}.{key}")
        out[key] = plain(build.typed(given[key], kind, f"{path}.{key}", where) if key in given else default)
    if out.get("sees") is not None:
        _check_sees(config, path, out["sees"])
    return out


def _check_sees(config: Config, path: str, sees: str | dict) -> None:
    if isinstance(sees, dict) and not sum(sees.values()) > 0:
        raise Mistake(f"{path}.sees: the probabilities sum to 0", where=config.where(f"{path}.sees"))
    for name in sees if isinstance(sees, dict) else [sees]:
        if name not in build.sees():
            raise Mistake(f"{path}.sees: there is no buffer {name!r}", where=config.where(f"{path}.sees"),
                          near=", ".join(nearest(name, build.sees())))  # fmt: skip


def _named_ramps(config: Config, path: str, given: Any, known: list[str] | None) -> dict[str, Any]:
    given = _mapping(config, path, given)
    for key in given:
        if known is not None and key not in known:
            raise _unknown(config, key, path, known)
    return {
        key: plain(build.typed(value, Ramp, f"{path}.{key}", config.where(f"{path}.{key}")))
        for key, value in given.items()
    }


def _unknown(config: Config, key: str, path: str, known) -> Mistake:
    full = join(path, key)
    return Mistake(f"unknown key {full!r}", where=config.where(full), near=", ".join(nearest(key, known)))


def plain(value: Any) -> Any:
    """A typed setting as YAML can hold it."""
    if isinstance(value, Times):
        return plain(value.low) if value.low == value.high else [plain(value.low), plain(value.high)]
    if isinstance(value, Ramp):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return (
            value.start
            if value.end is None
            else {k: v for k, v in fields.items() if v != Ramp.__dataclass_fields__[k].default}
        )
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value
