"""Where the files of a skinned body are, what they were when a run began, and whether they can be used and know what they are told. Without
torch."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from dream3d.build import place
from dream3d.errors import Mistake, choices, nearest
from dream3d.recipe import Where

RIGS, MOTIONS = (".npz", ".pkl", ".safetensors"), (".json", ".safetensors")
BUILT_IN = ("wave", "walk")  # motions
TEXT = 1 << 22  # bytes of the names of a rig
FIX = "humanoid, or the path of an SMPL-X, SMPL or FLAME model (.npz, .pkl), or of a .safetensors of docs/rigs.md"


def complete(settings: dict[str, Any], prompt: str | list[str], where: Where = lambda path: "") -> dict[str, Any]:
    """The settings of a skinned body with the digests of the user's files that it is made of. Raises Mistake for files that are not
    there, that are broken or do not fit each other, and for joints and shapes that a rig does not have. Files that have a digest already
    have been looked at when they got it; when the scene is built they have to be as they were."""
    told, digests, paths = _by_name(settings["digests"]), {}, {}
    for key, found in (("rig", rig), ("motion", motion)):
        name = settings[key]
        if name in told:
            digests[name] = told[name]
        elif name is not None and (path := found(name, where(f"renderer.{key}"))) is not None:
            digests[name], paths[key] = digest(path), path
    if "rig" in paths:
        known = _known(paths["rig"], digests[settings["rig"]])
    else:
        known = _named(bundled().get(settings["rig"]) or there(settings["rig"]))
    _check_names(settings, known, where)
    if known.names is not None and (settings["motion"] in BUILT_IN or "motion" in paths):
        _check_motion(settings["motion"], paths.get("motion"), digests.get(settings["motion"]), known.names, known.upright)
    return {**settings, "digests": [f"{sha256} {name}" for name, sha256 in digests.items()]}


def rig(name: str, where: str = "renderer.rig") -> Path | None:
    """The user's file of this name; None for one of the house's. Raises Mistake where there is neither."""
    ours = bundled()
    if name in ours:
        return None
    path = there(name)
    if path is None:
        raise Mistake(f"there is no rig {name!r}", where=where, near=", ".join(nearest(name, ours) or ours), fix=FIX)
    if path.suffix.lower() not in RIGS:
        raise Mistake(f"{path.name} is of no kind that rigs are read from", where=str(path), near=", ".join(RIGS), fix=FIX)
    return path


def motion(name: str, where: str = "renderer.motion") -> Path | None:
    """The user's file of this name; None for a built-in motion. Raises Mistake where there is neither."""
    if name in BUILT_IN:
        return None
    path = there(name)
    if path is None:
        fix = "one of these, or the path of a .json or .safetensors file"
        raise Mistake(f"there is no motion {name[:60]!r}", where=where, near=choices(name, BUILT_IN), fix=fix)
    if path.suffix.lower() not in MOTIONS:
        raise Mistake(f"{path.name} is of no kind that can be read", where=str(path), near=", ".join(MOTIONS), fix="docs/rigs.md")
    return path


def bundled() -> dict[str, Path]:
    """The rigs in assets/rigs by name."""
    return {path.stem: path for path in sorted((place("assets") / "rigs").glob("*.safetensors"))}


def there(name: str) -> Path | None:
    """The file of this name, ~ for a home; None where there is none, or can be none."""
    try:
        path = Path(name).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def digest(path: Path) -> str:
    """64 hexadecimal digits of a file, and of the names beside it where it has such."""
    found = hashlib.sha256()
    try:
        for part in (path, path.with_suffix(".json")) if path.suffix.lower() == ".safetensors" else (path,):
            if part == path or part.is_file():
                with open(part, "rb") as file:
                    found.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        raise Mistake(f"cannot read {path.name}: {error.strerror}", where=str(path), fix="may it be read?") from None
    return found.hexdigest()


def _by_name(digests: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Of lines as sha256sum writes them."""
    return {name: sha256 for sha256, _, name in (line.partition(" ") for line in digests)}


def check_unchanged(digests: tuple[str, ...]) -> None:
    """Raises Mistake where a file is not the one that a run began with."""
    for name, expected in _by_name(digests).items():
        path = there(name)
        if path is not None and digest(path) != expected:
            raise Mistake(f"{path.name} is not the file that this run began with", where=str(path),
                          fix="put it back, or start anew: renderer.digests=[] out=ANOTHER")  # fmt: skip


class Known(NamedTuple):
    """Names of a rig's joints and shape directions, None where they are not told; whether it is z up in its file."""

    names: tuple[str, ...] | None
    shapes: tuple[str, ...] | None
    expressions: int = 0
    upright: bool = True


@lru_cache(maxsize=16)
def _known(path: Path, sha256: str) -> Known:
    """Of a user's rig, which is read and checked, once for each of its versions: every line of a batch comes here."""
    found = read(path)
    return Known(found.names, found.shape_names, found.expressions, found.upright)


@lru_cache(maxsize=16)
def _check_motion(name: str, path: Path | None, sha256: str | None, names: tuple[str, ...], upright: bool) -> None:
    from dream3d.rig.moves import moves

    moves(name, path, names, upright)


def _check_names(settings: dict[str, Any], known: Known, where: Where) -> None:
    count = len(known.shapes or ()) - known.expressions
    shapes = (known.shapes or ())[: min(settings["shapes"], count)], (known.shapes or ())[count:][: settings["expressions"]]
    told = {"pose": ("joint", known.names), "shape": ("shape direction", None if known.shapes is None else (*shapes[0], *shapes[1]))}
    for key, (what, names) in told.items():
        lost = [name for name in settings[key] or {} if names is not None and name not in names]
        if lost:
            raise Mistake(f"this rig has no {what} {lost[0]!r}", where=where(f"renderer.{key}.{lost[0]}"), near=choices(lost[0], names))


def read(path: Path):
    """What a rig's file holds, checked (`dream3d.rig.check.Numbers`). Raises Mistake for what is no rig."""
    match path.suffix.lower():
        case ".safetensors":
            from dream3d.rig.own import read as of
        case ".npz":
            from dream3d.rig.bodies import read_npz as of
        case _:
            from dream3d.rig.bodies import read_pkl as of
    return of(path)


def _named(path: Path | None) -> Known:
    """What the file beside a rig names, without reading the rig; nothing where there is none, or a broken one, as is said elsewhere."""
    try:
        with open(path.with_suffix(".json"), "rb") as file:
            said = json.loads(file.read(TEXT))
        return Known(tuple(str(row["name"]) for row in said["joints"]), tuple(str(name) for name in said.get("shapes", [])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Known(None, None)
