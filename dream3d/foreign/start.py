"""The `init` section of a configuration: which files a run starts from, found and told apart by their content before torch is imported."""

import os
from pathlib import Path
from typing import Any

from dream3d import check
from dream3d.build import place as assets
from dream3d.errors import Mistake
from dream3d.foreign.files import digest, kind, named
from dream3d.recipe import SHORT, Where, join


def place(file: str) -> Path:
    """The path that a configuration names, else a mesh in assets/meshes."""
    try:
        path = Path(file).expanduser()
    except RuntimeError:
        raise Mistake(f"there is no user whose home is {file!r}", fix="name the file without ~") from None
    bundled = {mesh.name: mesh for mesh in (assets("assets") / "meshes").iterdir()}
    return bundled.get(file, path) if not os.path.lexists(path) else path


def stamped(values: dict[str, Any], where: Where) -> dict[str, Any]:
    """A complete configuration in which every file that a stage starts from has its digest: it makes the run what it is. A digest that is
    there already is one to be held to, later. Raises Mistake for a file that is not there, or is none that can be read."""
    init = _stamp(values["init"], "init", where)
    stages = [{**stage, "init": _stamp(stage["init"], f"stages.{i}.init", where)} if "init" in stage else stage
              for i, stage in enumerate(values["stages"])]  # fmt: skip
    return {**values, "init": init, "stages": stages}


def _stamp(init: Any, path: str, where: Where) -> dict[str, Any]:
    init = {SHORT["init"]: init} if isinstance(init, str) else dict(init or {})
    if init.get("file") is None and any(value is not None for value in init.values()):
        raise Mistake(f"{path} names no file", where=where(path), fix=f"{path}.file=car.glb")
    if init.get("file") is None or init.get("sha256") is not None:
        return init
    try:
        file = place(init["file"])
        kind(file)
        return {**init, "sha256": digest(file)}
    except Mistake as mistake:
        at = where(join(path, "file")) or mistake.where
        raise Mistake(f"{path}: {mistake.problem}", where=at, near=mistake.near, fix=mistake.fix) from None


def unchanged(path: Path, expected: str | None) -> None:
    """Raises Mistake where the file is not there, or is not the one whose digest is `expected`."""
    kind(path)
    if expected is not None and digest(path) != expected:
        raise Mistake(f"{path.name} is not the file that this run began with", where=str(path),
                      fix="put it back, or start anew: init.sha256=null out=ANOTHER")  # fmt: skip


def _files(stages: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    return [(i, stage["init"]) for i, stage in enumerate(stages) if stage["init"]["file"] is not None]


def check_init(config) -> None:
    """Every file that a stage of a run starts from is there, and is what it was when the run began."""
    for _, init in _files(check.stages(config.values)):
        unchanged(place(init["file"]), init["sha256"])


def size(init: dict[str, Any]) -> int:
    """Bytes of a file and of what it names."""
    path = place(init["file"])
    return sum(part.stat().st_size for part in [path, *named(path)] if part.is_file())


def told(stages: list[dict[str, Any]]) -> list[str]:
    """Lines: what the stages start from."""
    lines = []
    for i, init in _files(stages):
        path = place(init["file"])
        others = len(named(path))
        more = f" and {others} file{'s' * (others > 1)} that it names" if others else ""
        lines.append(f"stage {i + 1} starts from {init['file']}{more}: {kind(path)}, {size(init) / 1e6:.1f} MB")
    return lines
