"""Layouts: which objects a composed scene has, what each is told, and where it stands. Read, checked and completed without torch.

A layout is a mapping, written in the recipe or in a JSON file, or "prompt": the one or two objects that the prompt names.

    {"objects": [{"name": "ball", "prompt": "a red ball"},
                 {"name": "cube", "prompt": "a blue cube", "box": {"centre": [0, 0, -0.3], "size": 0.8}, "rotation": 30}],
     "relations": ["ball on cube"]}

A complete one has no relations any more: every object has its box. So a run's own configuration needs no other file. One that was read
from a prompt keeps that (`origin`), and is refused beside another one.
"""

import json
import re
from pathlib import Path
from typing import Any

from dream3d import build, check, places
from dream3d.errors import Mistake, choices
from dream3d.places import SAID, Box
from dream3d.recipe import Where
from dream3d.schedule import Angle, Positive
from dream3d.toybox.language import Wish, captions, parse
from dream3d.typed import short, typed

PATH = "renderer.layout"
OBJECTS, BYTES, LETTERS = 32, 1 << 20, 60  # at most, of a layout, a file, a name
SMALLEST = 0.01  # metres: a side of a box
Triple = tuple[float, float, float]
KEYS = {"objects": (list, build.MISSING), "relations": (list[str], []), "overlap": (bool | list[tuple[str, str]], False),
        "origin": (str | None, None)}  # fmt: skip
OBJECT = {
    "name": (str, build.MISSING), "prompt": (str | None, None), "box": (dict[str, Any] | None, None),
    "rotation": (Angle | tuple[Angle, Angle, Angle], 0.0), "group": (str | None, None), "frozen": (bool, False),
    "file": (str | None, None), "sha256": (str | None, None), "renderer": (dict[str, Any] | None, None),
}  # fmt: skip
BOX = {"centre": (Triple | None, None), "size": (Positive | tuple[Positive, Positive, Positive] | None, None)}
NOT = {"plane": "a picture is no object", "composed": "objects do not nest: give them a group"}
ALONE = {"halves": None, "features": 0}  # settings of a part that would not fit a scene of several, and what they have to be


def complete(settings: dict[str, Any], prompt: str | list[str], where: Where = lambda path: "") -> dict[str, Any]:
    """The settings of a composed scene with its layout read, checked and placed, and its parts checked. Raises Mistake."""
    common = _part("renderer.object", settings["object"], where)
    layout, at = _read(settings["layout"], prompt, where)
    return {**settings, "object": common, "layout": _placed(layout, common, at)}


def prompts(renderer: dict[str, Any]) -> list[str]:
    """What the objects of a complete scene are told, in the order of their labels."""
    return [thing["prompt"] for thing in renderer["layout"]["objects"]]


def part(common: dict[str, Any], thing: dict[str, Any]) -> dict[str, Any]:
    """The complete settings of one object's representation: the common ones, changed by its own."""
    return check.plugin("renderer", check.merge(common, thing.get("renderer") or {}), lambda path: "")


def parts(renderer: dict[str, Any]) -> list[dict[str, Any]]:
    """The complete settings of every part of a complete scene."""
    return [part(renderer["object"], thing) for thing in renderer["layout"]["objects"]]


def _part(path: str, settings: Any, where: Where) -> dict[str, Any]:
    full = check.plugin(path, settings, where)
    if full["type"] in NOT:
        names = [name for name in build.available("renderers") if name not in NOT]
        raise Mistake(f"{path}: {NOT[full['type']]}", where=where(f"{path}.type"), near=choices("", names))
    for key, value in ALONE.items():
        if full.get(key, value) != value:
            raise Mistake(f"{path}.{key} is of a scene of its own, not of an object", where=where(f"{path}.{key}"), fix=f"leave {key} out")
    if full.get("environment") is True:
        raise Mistake(f"{path}: an object paints nothing behind the scene", where=where(f"{path}.environment"), fix="environment: false")
    return check.completed("renderer", full, "", lambda key: where(key.replace("renderer", path, 1)))


# --- reading ----------------------------------------------------------------------------------------------------------------------


def _read(layout: str | dict[str, Any], prompt: str | list[str], where: Where) -> tuple[dict[str, Any], Where]:
    """The mapping, and where what is in it was written, by paths that begin with renderer.layout."""
    if isinstance(layout, dict):
        told = layout.get("origin")
        if isinstance(told, str) and prompt not in (told, ""):  # a scene that is built has none
            raise Mistake(f"this layout was read from {short(told)}, but the prompt is {short(prompt)}", where=where("prompt"),
                          fix="renderer.layout=prompt reads it again; renderer.layout.origin=null keeps its objects")  # fmt: skip
        return layout, where
    if layout == "prompt":
        return _named(prompt, where("prompt")), lambda path: where("prompt")
    try:
        return _loaded(Path(layout).expanduser()), lambda path: f"{layout}: {path.removeprefix(PATH).lstrip('.')}".rstrip(": ")
    except RuntimeError:
        raise Mistake(f"there is no user whose home is {layout!r}", where=where(PATH)) from None
    except Mistake as mistake:
        raise mistake.completed(where=where(PATH)) from None


def _loaded(path: Path) -> dict[str, Any]:
    """A JSON file, bounded. Raises Mistake with the line of what is wrong."""
    try:
        with open(path, "rb") as file:
            data = file.read(BYTES + 1)
    except (OSError, ValueError) as error:
        folder = path.parent if path.parent.is_dir() else Path()
        near = choices(path.name, sorted(p.name for p in folder.glob("*.json"))[:50]) if any(folder.glob("*.json")) else "prompt"
        raise Mistake(f"the layout {str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}", near=near,
                      fix="a JSON file, layout: prompt, or layout: {objects: [...]}") from None  # fmt: skip
    if len(data) > BYTES:
        raise Mistake("this layout is larger than 1 MiB", where=str(path), fix=f"a layout has at most {OBJECTS} objects")
    try:
        found = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise Mistake(f"this is not JSON: {error.msg}", where=f"{path}:{error.lineno}", fix='{"objects": [{"name": "ball"}]}') from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Mistake("this layout is not UTF-8 text", where=f"{path}:{line}", fix="save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
        raise Mistake(f"this layout cannot be read: {problem}", where=str(path), fix="plain objects, lists, text, numbers") from None
    if not isinstance(found, dict):
        raise Mistake(f"a layout is a mapping, but this is {short(found)}", where=str(path), fix='{"objects": [{"name": "ball"}]}')
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key[:40]!r} stands there twice in one place")
        found[key] = value
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no finite number")


def _named(prompt: str | list[str], where: str) -> dict[str, Any]:
    """The objects that a prompt names, and how they stand."""
    if not isinstance(prompt, str):
        raise Mistake("a layout can be read from one prompt, not from several", where=where, fix="renderer.layout: {objects: [...]}")
    try:
        wish = parse(prompt)
    except Mistake:  # of a world that knows more words
        wish = Wish()
    phrases, how = [captions(Wish((thing,)))[0] for thing in wish.things], wish.relation
    names = [thing.name for thing in wish.things]
    if not phrases:
        first, *rest = SAID.split(_one_line(prompt, where).rstrip("."), maxsplit=2)
        if len(rest) == 4:
            raise Mistake(f"this prompt names more than two objects: {prompt[:60]!r}", where=where, fix="renderer.layout: {objects: [...]}")
        phrases, how = [first.strip(), *(text.strip() for text in rest[1:2])], places.WORDS[rest[0].lower()] if rest else None
        names = [(re.findall(r"[\w-]+", phrase) or ["object"])[-1][:LETTERS] for phrase in phrases]
    names = names if len({name.casefold() for name in names}) == len(names) else [f"{name} {i + 1}" for i, name in enumerate(names)]
    told = [{"name": name, "prompt": phrase} for name, phrase in zip(names, phrases, strict=True)]
    return {"objects": told, "origin": prompt,
            "relations": [f"{names[0]} {how} {names[1]}"] if len(names) == 2 else []}  # fmt: skip


def _one_line(prompt: str, where: str) -> str:
    try:
        return places.said(prompt)
    except Mistake as mistake:
        raise Mistake(mistake.problem, where=where, fix="renderer.layout: {objects: [...]}") from None


# --- checking ---------------------------------------------------------------------------------------------------------------------


def _placed(layout: dict[str, Any], common: dict[str, Any], where: Where) -> dict[str, Any]:
    """A layout in which every object has its box, and no relation is needed; the same for one that is so already."""
    found, path = _typed(PATH, layout, KEYS, where), f"{PATH}.objects"
    if not 0 < len(found["objects"]) <= OBJECTS:
        problem = "there are no objects in this layout" if not found["objects"] else f"{len(found['objects'])} objects in a layout"
        raise Mistake(problem, where=where(path), fix=f"1 to {OBJECTS} objects: [{{name: ball, prompt: a red ball}}]")
    things = [_thing(f"{path}.{i}", thing, common, where) for i, thing in enumerate(found["objects"])]
    names = [thing["name"] for thing in things]
    for i, name in enumerate(names):
        if name.casefold() in [other.casefold() for other in names[:i]]:
            raise Mistake(f"two objects are called {name!r}", where=where(f"{path}.{i}"), fix="every object has a name of its own")
    if all(thing["frozen"] for thing in things):
        raise Mistake("every object is frozen: nothing would learn", where=where(path), fix="leave one of them free")
    try:
        relations = [places.relation(text, names) for text in found["relations"]]
        boxes = places.arrange([_box(thing) for thing in things], relations)
        for box in boxes:
            places.check_inside(box)
        overlap = _overlap(boxes, relations, found["overlap"])
    except Mistake as mistake:
        raise mistake.completed(where=where(f"{PATH}.relations" if found["relations"] else path)) from None
    for thing, box in zip(things, boxes, strict=True):
        thing["box"] = {key: [round(x, 4) for x in getattr(box, key)] for key in BOX}
    told = {} if found["origin"] is None else {"origin": found["origin"]}
    return {"objects": [{key: value for key, value in thing.items() if value is not None} for thing in things], "overlap": overlap, **told}


def _thing(path: str, thing: Any, common: dict[str, Any], where: Where) -> dict[str, Any]:
    """One object with all its keys, its file stamped, its own settings checked."""
    if not isinstance(thing, dict):
        raise Mistake(f"{path}: an object is a mapping, but this is {short(thing)}", where=where(path), fix="{name: ball}")
    full = _typed(path, thing, OBJECT, where)
    full["name"] = full["name"].strip()
    if not 0 < len(full["name"]) <= LETTERS or not full["name"].isprintable():
        raise Mistake(f"{path}.name has 1 to {LETTERS} letters, not {short(full['name'])}", where=where(f"{path}.name"), fix="name: ball")
    full["prompt"] = (full["prompt"] or "").strip() or full["name"]
    if full["group"] is not None and not full["group"].strip():
        raise Mistake(f"{path}.group is empty", where=where(f"{path}.group"), fix="a name, or no group")
    if full["sha256"] is not None and full["file"] is None:
        raise Mistake(f"{path}.sha256 is of no file", where=where(f"{path}.sha256"), fix="file: duck.ply, or no sha256")
    full["box"] = _typed(f"{path}.box", full["box"] or {}, BOX, where)
    size = full["box"]["size"]
    if size is not None and min(size if isinstance(size, list) else [size]) < SMALLEST:
        raise Mistake(f"{path}.box.size: a side of {short(size)} m is less than {100 * SMALLEST:g} cm", where=where(f"{path}.box.size"),
                      fix="lengths are metres: size: 0.5")  # fmt: skip
    if full["file"] is not None and full["sha256"] is None:
        from dream3d.convert.source import digest

        try:
            full["sha256"] = digest(full["file"])
        except Mistake as mistake:
            raise mistake.completed(where=where(f"{path}.file"), within=f"{full['name']}: ") from None
    if full["renderer"] is not None:
        found = _part(f"{path}.renderer", check.merge(common, full["renderer"]), where)
        full["renderer"] |= {"digests": found["digests"]} if found.get("digests") else {}
    return full


def _typed(path: str, given: dict[str, Any], known: dict[str, tuple[Any, Any]], where: Where) -> dict[str, Any]:
    """Every known key with its value or default."""
    for key in given:
        if key not in known:
            raise Mistake(f"unknown key {f'{path}.{key}'[:90]!r}", where=where(f"{path}.{key}"), near=choices(key, known))
    out = {}
    for key, (kind, default) in known.items():
        full = f"{path}.{key}"
        if key not in given and default is build.MISSING:
            raise Mistake(f"{full} is missing", where=where(path), fix=f"{key}: ball" if key == "name" else f"{key}: [...]")
        out[key] = check.plain(typed(given[key], kind, full, where(full))) if key in given else default
    return out


def _box(thing: dict[str, Any]) -> Box:
    size, turn = thing["box"]["size"], thing["rotation"]
    size = tuple(size) if isinstance(size, list) else None if size is None else (size,) * 3
    centre = None if thing["box"]["centre"] is None else tuple(thing["box"]["centre"])
    return Box(thing["name"], thing["prompt"], centre, size, tuple(turn) if isinstance(turn, list) else (0.0, 0.0, turn))


def _overlap(boxes: list[Box], relations: list[places.Relation], told: bool | list[list[str]]) -> bool | list[list[str]]:
    """The pairs of objects whose boxes overlap, all of which may: they were told, or a relation brought them together, as who sits on a
    sofa and the sofa; False for none, True where all may that ever do. Raises Mistake where others overlap."""
    if told is True:
        return True
    together = {frozenset(name.casefold() for name in pair) for pair in [*(told or []), *((one.first, one.second) for one in relations)]}
    crowded = places.crowded(boxes)
    for a, b, depth in crowded:
        if frozenset((a.name.casefold(), b.name.casefold())) not in together:
            raise Mistake(f"the boxes of {a.name!r} and {b.name!r} overlap by {100 * depth:.0f} cm",
                          fix=f"move one of them by that, or allow it: overlap: [[{a.name}, {b.name}]]")  # fmt: skip
    return [[a.name, b.name] for a, b, _ in crowded] or False
