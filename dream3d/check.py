"""Checking a configuration: every key, name and type of it and of each of its stages, without torch; and completing it."""

import copy
import dataclasses
import importlib
import re
from typing import Any

from dream3d import build, trackers
from dream3d.errors import Mistake, choices
from dream3d.hints import meant
from dream3d.recipe import SHORT, VERBATIM, Where, join
from dream3d.schedule import Positive, Ramp, Seed, Times
from dream3d.typed import short, typed, written

CLIPPED = ["rgb", "alpha", "depth", "normal", "labels", "features"]  # dream3d.types.BUFFERS, without torch
PLUGINS = {"prior": "priors", "renderer": "renderers", "cameras": "cameras", "background": "background",
           "optimizer": "optim", "system": "systems", "guidance": "guidance"}  # fmt: skip
DEFAULTS = {"name": "", "prompt": "", "negative": "", "prior": {"type": "exact"}, "guidance": {"type": "sds"},
            "renderer": {"type": "gaussians"}, "cameras": {"type": "orbit"}, "background": {"type": "random"},
            "optimizer": {"type": "adam"}, "penalties": {}, "clip": None, "steps": 600, "stages": [], "seed": 0,
            "device": "auto", "system": {"type": "text_to_3d"}, "init": {}, "text": {}, "keep": {}, "export": {},
            "track": [], "out": None}  # fmt: skip
PER_RUN = ("name", "seed", "device", "out", "stages", "steps", "keep", "export", "track")  # what a stage cannot change
PLAIN = {"name": str, "negative": str, "seed": Seed, "steps": int, "device": str, "out": str | None}
MOST = 64  # stages, terms: each costs time before any work
DEVICE = re.compile(r"auto|cpu|(cuda|mps|xpu)(:\d{1,3})?")


def complete(values: dict[str, Any], where: Where) -> dict[str, Any]:
    """The whole configuration with every default written out. Raises Mistake for what is wrong first."""
    for key in values:
        if key not in DEFAULTS:
            raise _unknown(key, "", DEFAULTS, where)
    full = fill(merge(DEFAULTS, values), where)
    for i, stage in enumerate(full["stages"]):
        try:
            _check_stage(full, stage, i, where)
        except Mistake as mistake:
            raise mistake.completed(within="" if "stages." in mistake.problem else f"stages.{i}: ") from None
    if 0 in split(full):
        raise Mistake(f"{full['steps']} steps are too few for {len(full['stages'])} stages", where=where("steps"),
                      fix="more steps, or shares that differ less")  # fmt: skip
    return full


def merge(below: Any, above: Any) -> Any:
    """Mappings merge key by key; a mapping with another `type` replaces the whole section, as everything else does."""
    both = isinstance(below, dict) and isinstance(above, dict)
    if not both or ("type" in below and above.get("type", below["type"]) != below["type"]):
        return copy.deepcopy(above)
    merged = {key: merge(below[key], above[key]) if key in below and key in above else (above | below)[key]
              for key in {**below, **above}}  # fmt: skip
    return copy.deepcopy(merged)


def split(values: dict[str, Any]) -> list[int]:
    """The steps of each stage, by their shares."""
    shares = [stage.get("share", 1.0) for stage in values["stages"] or [{}]]
    ends = [round(values["steps"] * (sum(shares[: i + 1]) / sum(shares))) for i in range(len(shares))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def stages(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Complete settings of each stage of a complete configuration, with its own `steps`. The first begins from the configuration's
    `init`, the others from what is handed over, where they have none of their own."""
    changed = [{k: v for k, v in stage.items() if k != "share"} for stage in values["stages"] or [{}]]
    merged = [merge({**values, "init": {}} if i else values, stage) for i, stage in enumerate(changed)]
    return [fill({**stage, "steps": n, "stages": []}) for stage, n in zip(merged, split(values), strict=True)]


def _check_stage(full: dict, stage: Any, i: int, where: Where) -> None:
    at = f"stages.{i}"
    if not isinstance(stage, dict):
        raise Mistake(f"{at}: expected settings that this stage changes, but it is {short(stage)}", where=where(at),
                      fix="stages: [{share: 1, guidance: {scale: 20}}, {share: 2}]")  # fmt: skip
    for key in stage:
        if key in PER_RUN:
            fix = "share: 2 gives a stage twice the steps of share: 1" if key == "steps" else f"set {key} outside stages"
            raise Mistake(f"{at}.{key}: {key} is of the whole run, not of a stage", where=where(join(at, key)), fix=fix)
        if key not in {"share", *DEFAULTS}:
            raise _unknown(key, at, ["share", *(k for k in DEFAULTS if k not in PER_RUN)], where)
    if "share" in stage:
        stage["share"] = _typed(stage["share"], Positive, f"{at}.share", where, 1)
    changed = {k: v for k, v in stage.items() if k != "share"}
    found = fill(merge(full, changed), lambda path: where(join(at, path)) if path.split(".")[0] in changed else where(path))
    for key, given in changed.items():  # what was read from elsewhere is written out
        if key in PLUGINS and isinstance(given, dict) and isinstance(found[key], dict) and _completes(key, found[key]):
            before = plugin(key, merge(full, changed)[key], where)
            stage[key] = {name: value for name, value in found[key].items() if name in given or value != before[name]}


def fill(values: dict[str, Any], where: Where = lambda path: "") -> dict[str, Any]:
    """The same settings with every default written out; each is checked on the way. Stages are left as they are."""
    out = {key: _typed(values[key], kind, key, where, DEFAULTS[key]) for key, kind in PLAIN.items()}
    if "\0" in (out["out"] or ""):
        raise Mistake("out: a folder's name cannot hold the character NUL", where=where("out"), near="out=run")
    if not DEVICE.fullmatch(out["device"]):
        raise Mistake(f"there is no device {out['device']!r}", where=where("device"), near="auto, cpu, cuda, cuda:1, mps")
    out["prompt"] = _prompt(values["prompt"], where)
    for key in ("prior", "renderer", "cameras", "background", "optimizer", "system"):
        out[key] = completed(key, plugin(key, values[key], where), out["prompt"], where)
    out["guidance"] = _guidance(values["guidance"], where)
    for key, cls in build.OPTIONS.items():
        out[key] = _settings(key, _mapping(key, values[key], where), build.option_parameters(cls), where)
    out["penalties"] = _named_ramps("penalties", values["penalties"], build.penalties(), where)
    if not (out["guidance"] or out["penalties"] or build.signature("systems", out["system"]["type"]).pulls):
        raise Mistake("there is no guidance", where=where("guidance"), fix="guidance: {type: sds}")
    out["clip"] = _clip(values["clip"], where)
    out["track"] = trackers.complete(values["track"], where("track"))
    if out["steps"] < 1:
        raise Mistake(f"steps must be at least 1, but it is {out['steps']}", where=where("steps"), near="steps=600")
    _few("stages", values["stages"], where)
    if not isinstance(values["stages"], list):
        raise Mistake(f"stages: expected a list of overrides, but it is {short(values['stages'])}", where=where("stages"),
                      fix="stages: [{share: 1, guidance: {scale: 20}}, {share: 2}]")  # fmt: skip
    out["stages"] = copy.deepcopy(values["stages"])
    return {key: out[key] for key in DEFAULTS}


def completed(section: str, settings: dict[str, Any], prompt: str | list[str], where: Where) -> dict[str, Any]:
    """The settings of a part that says which module completes them: files read, parts within it checked."""
    module = _completes(section, settings)
    return settings if module is None else importlib.import_module(module).complete(settings, prompt, where)


def _completes(section: str, settings: dict[str, Any]) -> str | None:
    return build.signature(PLUGINS[section], settings["type"]).completes


def _guidance(value: Any, where: Where) -> dict | list[dict]:
    """One term, or a list of them; none where something else pulls."""
    _few("guidance", value, where)
    if isinstance(value, list):
        return [plugin(f"guidance.{i}", term, where) for i, term in enumerate(value)]
    return plugin("guidance", value, where)


def _few(path: str, value: Any, where: Where) -> None:
    if isinstance(value, list) and len(value) > MOST:
        raise Mistake(f"{path}: at most {MOST} of them, but there are {len(value)}", where=where(path), fix="merge some")


def _clip(clip: Any, where: Where) -> Any:
    """None, one schedule above 0, or one per buffer."""
    if isinstance(clip, dict) and "start" not in clip:
        ramps = {k: Ramp.parse(v) for k, v in _named_ramps("clip", clip, CLIPPED, where).items()}
    else:
        ramps = {"": typed(clip, Ramp | None, "clip", where("clip"))}
    for key, ramp in ramps.items():
        if ramp is not None and min(ramp.start, ramp.start if ramp.end is None else ramp.end) <= 0:
            raise Mistake("clip must be above 0; null is no clipping", where=where(join("clip", key)), near="clip=0.1, clip=null")
    return plain(ramps.get("", ramps))


def _prompt(value: Any, where: Where) -> str | list[str]:
    prompts = value if isinstance(value, list) else [value]
    for i, prompt in enumerate(prompts or [""]):
        problem = "there is no prompt" if not isinstance(value, list) or not value else f"prompt {i + 1} of {len(value)} is empty"
        if not isinstance(prompt, str):
            problem = f"prompt: expected text, but it is {short(prompt)}"
        if not isinstance(prompt, str) or not prompt.strip():
            raise Mistake(problem, where=where("prompt"), fix='prompt="a red car"')
    return value


def plugin(path: str, settings: Any, where: Where) -> dict[str, Any]:
    """The complete settings of one part: of a section, or of a part within another (renderer.object)."""
    settings = _mapping(path, settings, where)
    catalogue, default = PLUGINS[path.split(".")[0]], DEFAULTS[path.split(".")[0]]["type"]
    name = _typed(settings.get("type", default), str, f"{path}.type", where, default)
    try:
        found = build.signature(catalogue, name)
    except Mistake as mistake:
        raise mistake.completed(where=where(f"{path}.type")) from None
    known = {**found.parameters, **(build.term_parameters() if catalogue == "guidance" else {})}
    if found.edits and not settings.get("source"):
        raise Mistake(f"{path}: {name} edits a scene, and is not told what that shows now", where=where(path),
                      near=f'{path}.source="a red car"', fix=f"prompt says what it shall show, {path}.source what it shows")  # fmt: skip
    filled = _settings(path, {k: v for k, v in settings.items() if k != "type"}, known, where)
    told = {k: v for k, v in filled.items() if k not in VERBATIM or v is not None}  # a written null is a word
    return {"type": name, **told}


def _mapping(path: str, value: Any, where: Where) -> dict[str, Any]:
    section = path.split(".")[0]
    if isinstance(value, str) and section in (*PLUGINS, *SHORT):
        return {SHORT.get(section, "type"): value}
    if value is None:
        return {}
    if not isinstance(value, dict):
        fix = f"{section}: {{type: {DEFAULTS[section]['type']}}}" if section in PLUGINS else f"set one by {path}.NAME=VALUE"
        fix = f'prompt="{value}"' if section == "text" and isinstance(value, str) else fix
        raise Mistake(f"{path}: expected a section with settings, but it is {short(value)}", where=where(path), fix=fix)
    return value


def _settings(path: str, given: dict[str, Any], known: dict[str, tuple[Any, Any]], where: Where) -> dict[str, Any]:
    """Given settings checked against known parameters, completed by their defaults."""
    for key in given:
        if key not in known:
            raise _unknown(key, path, known, where)
    out = {}
    for key, (kind, default) in known.items():
        full = f"{path}.{key}"
        if key not in given and default is build.MISSING:
            raise Mistake(f"{full} is missing", where=where(path), fix=f"set {full}=VALUE")
        out[key] = _typed(given[key], kind, full, where, default) if key in given else plain(default)
    if out.get("sees") is not None:
        _check_sees(f"{path}.sees", out["sees"], where)
    return out


def _check_sees(path: str, sees: str | dict, where: Where) -> None:
    if isinstance(sees, dict) and not sum(sees.values()) > 0:
        raise Mistake(f"{path}: the probabilities sum to 0", where=where(path), near="{rgb: 0.5, normal: 0.5}")
    for name in sees if isinstance(sees, dict) else [sees]:
        if name not in build.sees():
            raise Mistake(f"{path}: there is no buffer {name!r}", where=where(path), near=choices(name, build.sees()))


def _named_ramps(path: str, given: Any, known: list[str], where: Where) -> dict[str, Any]:
    given = _mapping(path, given, where)
    for key in given:
        if key not in known:
            raise _unknown(key, path, known, where)
    return {k: _typed(v, Ramp, f"{path}.{k}", where, 0.1) for k, v in given.items()}


def _typed(value: Any, kind: Any, path: str, where: Where, default: Any) -> Any:
    """The value as its type says, plain again; a mistake shows the default as one that would do."""
    try:
        return plain(typed(value, kind, path))
    except Mistake as mistake:
        near = "" if default is build.MISSING else f"{path}={written(plain(default))}"
        raise mistake.completed(where=where(path), near=near) from None


def _unknown(key: str, path: str, known, where: Where) -> Mistake:
    """A key that nothing knows: the nearest here, else where it belongs, else all there are."""
    full = join(path, key)
    near, fix = meant(key, _sections(path)), ""
    if key == "extends":
        near, fix = "", "extends stands in a file; on the command line name the recipe by --config"
    elif key == "<<":
        near, fix = "", "YAML's merge keys are not read; one recipe continues another by extends: NAME"
    return Mistake(f"unknown key {full!r}", where=where(full), near=near or ("" if fix else choices(key, known)), fix=fix)


def _sections(path: str) -> dict[str, Any]:
    """The settings of every section other than `path`, by their default types: where a lost key may belong."""
    found = {key: [*build.signature(PLUGINS[key], DEFAULTS[key]["type"]).parameters] for key in PLUGINS}
    found["guidance"] += build.term_parameters()
    found |= {key: [*build.option_parameters(cls)] for key, cls in build.OPTIONS.items()}
    return {key: names for key, names in found.items() if key != path.split(".")[0]}


def plain(value: Any) -> Any:
    """A typed setting as YAML can hold it."""
    if isinstance(value, Times):
        return plain(value.low) if value.low == value.high else [plain(value.low), plain(value.high)]
    if isinstance(value, Ramp):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        told = {k: v for k, v in fields.items() if v != Ramp.__dataclass_fields__[k].default}
        return value.start if value.end is None else told
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value
