"""A library for Blender's asset browser: a .blend for every asset that has a mesh, named as its job, in catalogues by category.

What is there already is not made again. Catalogues' ids depend on their names alone, files' names on their jobs' hashes: both stay when the
library grows, is made again or moves.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dream3d import files
from dream3d.batch import disk
from dream3d.batch.page import inside
from dream3d.blender import assets
from dream3d.blender.call import SECONDS, ask
from dream3d.blender.find import check
from dream3d.blender.library import facts
from dream3d.errors import Mistake, one_line
from dream3d.foreign.files import whole

TOGETHER = 8  # assets for which Blender starts once
LARGEST = 1 << 30  # bytes of a GLB


def shelf(library: Path, records: list[dict[str, Any]], to: Path) -> Iterator[tuple[str, Path, str]]:
    """Yields each asset's name, its .blend, and what came of it: made, there, or what is in the way. Raises Mistake where there is no
    Blender, before anything is written."""
    check()
    due, homes = [], set()  # source, target and record; catalogues of what is there, whose list may have been removed
    for record in records:
        name, run = str(record.get("name")), inside(record.get("run"))
        source, target = library / (run or ".") / "export" / "mesh.glb", to / f"{name}.blend"
        if run is None or not re.fullmatch(r"[\w.-]{1,120}", name) or name.startswith("."):
            yield name, target, "its record says no folder and no name"
        elif not source.is_file():
            yield name, target, "it has no mesh (export.mesh=false, or a kind without a surface)"
        elif target.is_file() and target.stat().st_mtime >= source.stat().st_mtime:
            homes.add(home(record))
            yield name, target, "there"
        else:
            due.append((source, target, record))
    if homes:
        assets.enter(to, sorted(homes))
    for at in range(0, len(due), TOGETHER):
        yield from _made(to, due[at : at + TOGETHER])


def _made(to: Path, part: list[tuple[Path, Path, dict[str, Any]]]) -> Iterator[tuple[str, Path, str]]:
    """Some at once; where one of them fails, each alone. Catalogues first: an asset whose catalogue is unknown is nowhere."""
    try:
        assets.enter(to, sorted({home(record) for _, _, record in part}))
        with contextlib.ExitStack() as places:
            ask([_task(*one, places.enter_context(files.replacing(one[1]))) for one in part], seconds=SECONDS * len(part))
    except Mistake as mistake:
        if disk.trouble(mistake):  # the next would not fit either
            raise
        if len(part) == 1:
            yield part[0][1].stem, part[0][1], mistake.lines[0]
            return
        for one in part:
            yield from _made(to, [one])
        return
    yield from ((target.stem, target, "made") for _, target, _ in part)


def _task(source: Path, target: Path, record: dict[str, Any], temporary: Path) -> dict[str, Any]:
    told = facts(whole(source, LARGEST), source)
    picture, own = source.with_name("thumbnail.png"), record.get("tags")
    words = [one_line(tag)[:60] for tag in own if isinstance(tag, str) and tag.strip()] if isinstance(own, list) else []
    return {"do": "blend", "file": source, "target": temporary, "name": target.stem, "catalog": assets.catalogue(home(record)),
            "tags": list(dict.fromkeys([*words, *assets.tags(told)])), "about": assets.about(told),
            "picture": picture if picture.is_file() else None}  # fmt: skip


def home(record: dict[str, Any]) -> str:
    """The catalogue of an asset: its category in the list, whose / are catalogues within others, else its recipe."""
    told = str(record.get("category") or record.get("recipe") or "Other")
    words = [re.sub(r"[^\w. -]+", "-", part)[:60].strip(" .-") for part in told.split("/")]
    return "/".join(["Library", *[word for word in words if word][:6]])
