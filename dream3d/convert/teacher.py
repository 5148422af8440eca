"""The scene that another one learns to be: a run as its checkpoint left it, what a file holds, or two of them merged."""

from pathlib import Path

import torch
from safetensors import SafetensorError

from dream3d import assemble, build, checkpoint
from dream3d.config import load as load_config
from dream3d.convert import source
from dream3d.convert.merge import Mask, merged
from dream3d.errors import Mistake
from dream3d.folder import check_untouched
from dream3d.foreign import files
from dream3d.foreign.load import load as load_file
from dream3d.interfaces import Representation
from dream3d.types import Mesh, Points

TEXTURE = 2048  # texels a side with which a file's texture is drawn at most


def taught(
    teacher: str, digests: tuple[str, ...] = (), merge: str | None = None, mask: Mask = "cut", grid: int = 64
) -> tuple[Representation, list[str]]:
    """The teacher, and what was done to files on the way; with `merge` two scenes as one on a grid, the second one where it is. Raises
    Mistake for what is not there, or not what its digest says."""
    held = [*(digest or None for digest in digests), None, None, None]
    one, said = _read(teacher, held[0])
    if merge is None:
        return one, said
    if isinstance(mask, str) and mask != "cut" and held[2] is not None:
        _same(Path(mask), held[2])
    other, more = _read(merge, held[1], fit=False)
    still = [f"{name} moves: its still scene is merged" for name, found in ((teacher, one), (merge, other)) if moving(found)]
    made, about = merged(one, other, mask, grid)
    return made, [*said, *more, *still, *about]


def moving(scene: Representation) -> bool:
    """Whether it, or something in it, moves."""
    return any(hasattr(part, "still") or getattr(part, "motion", None) is not None for part in scene.modules())


def scene(name: str, digest: str | None = None) -> Representation:
    """A run's scene at its newest checkpoint, or the one of this digest; or a file's."""
    return _read(name, digest)[0]


def _read(name: str, digest: str | None, fit: bool | None = None) -> tuple[Representation, list[str]]:
    path = source.place(name)
    if source.is_run(path):
        return _of_run(path, digest), source.unfinished(path)
    if digest is not None:
        _same(path, digest)
    data, said = load_file(path, fit=fit)
    return drawn(data), [f"{path.name}: {line}" for line in said]


def _of_run(path: Path, digest: str | None) -> Representation:
    config = load_config(str(path / "config.yaml"))
    check_untouched(path, config)
    folder, _ = source.newest(path, digest)
    try:
        about, state = checkpoint.read(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise Mistake(f"checkpoint {folder.name} is damaged ({error})", where=str(path),
                      fix=f"python launch.py resume {path}, then convert anew") from None  # fmt: skip
    return assemble.saved(config, about, state, path)


def drawn(data: Points | Mesh) -> Representation:
    """What a file holds, by the representation that takes it as it is."""
    if isinstance(data, Points):
        degree = 0 if data.sh is None else min(round(data.sh.shape[1] ** 0.5) - 1, 3)
        settings = {"type": "gaussians", "count": 1, "sh_degree": degree}
    else:
        textured = data.texture is not None and data.uv is not None
        side = min(max(data.texture.shape[:2]), TEXTURE) if textured else 1
        settings = {"type": "mesh", "appearance": "texture" if textured else "vertex", "texture": side, "stiffness": 0.0, "settle": 0}
    made = build.make("renderers", settings, torch.Generator().manual_seed(0))
    made.init_from(data)
    return made


def _same(path: Path, digest: str) -> None:
    if files.digest(path) != digest:
        raise Mistake(f"{path.name} is not the file that this conversion began with", where=str(path),
                      fix="put it back, or convert anew: --out ANOTHER")  # fmt: skip
