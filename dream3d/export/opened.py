"""What is exported: a run as its newest checkpoint left it, one of its checkpoints, or a file that is not ours."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from dream3d import assemble, checkpoint
from dream3d.config import Config
from dream3d.convert.teacher import drawn
from dream3d.errors import Mistake
from dream3d.export import about
from dream3d.export.place import Placement, box
from dream3d.folder import check_untouched
from dream3d.foreign import load as foreign
from dream3d.interfaces import Representation
from dream3d.types import Mesh


@dataclass(frozen=True)
class Opened:
    """A scene that renders, and what its files say of it; of a file: its mesh where it is one, the move that takes it back to where it lay,
    and what was mended."""

    scene: Representation
    facts: dict[str, Any]
    own: Mesh | None = None
    back: Placement = Placement()
    said: tuple[str, ...] = ()


def of_run(run: Path, config: Config, folder: Path | None = None) -> Opened:
    """The run's scene at its newest checkpoint that is whole, or at the one in `folder`. Raises Mistake where there is none, or it is
    damaged, or of another configuration."""
    check_untouched(run, config)
    if folder is None:
        found = checkpoint.newest(run / "checkpoints", lambda text: print(text, file=sys.stderr))
        if found is None:
            raise Mistake("this run has no checkpoint yet", where=str(run), fix=f"python launch.py resume {run}")
    else:
        try:
            found = checkpoint.read(folder)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            raise Mistake(f"checkpoint {folder.name} is damaged: {error}", where=str(folder),
                          fix=f"python launch.py export {run} takes the newest that is whole") from None  # fmt: skip
    scene = assemble.saved(config, *found, run)
    return Opened(scene, about.of_run(config, found[0]["stage"]))


def of_file(path: Path, up: str | None = None) -> Opened:
    """What a GLB, glTF, OBJ or PLY holds, where objects live; `up` is the file's axis that points up (None: y, of a PLY z)."""
    data, said = foreign.load(path, fit=False, up=up)
    size = box(data)
    away, half = float((size[0] + size[1]).abs().max()) / 2, float((size[1] - size[0]).max()) / 2
    back, inside = Placement(), float(size.abs().max()) <= foreign.OUTSIDE and half >= foreign.SMALLEST
    if half > 0 and not inside:
        middle = (size[0] + size[1]) / 2
        if away > foreign.FAR * half:  # float32 has lost digits there: the reader moves it before
            data, said = foreign.load(path, fit=True, up=up)
            back = Placement(half / foreign.INSIDE)
        else:
            there = Placement(foreign.INSIDE / half, tuple((-middle * foreign.INSIDE / half).tolist()))
            data, back = there(data), Placement(half / foreign.INSIDE, tuple(middle.tolist()))
    with torch.no_grad():
        scene = drawn(data)
    said = [line for line in said if not line.startswith(("out of sight", "moved and scaled"))]  # `back` undoes it
    return Opened(scene, about.of_file(path), data if isinstance(data, Mesh) else None, back, tuple(said))
