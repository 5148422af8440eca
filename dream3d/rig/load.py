"""A rig by its name in assets/rigs, or from a user's file."""

from pathlib import Path

from dream3d.build import place
from dream3d.errors import Mistake, nearest
from dream3d.rig.types import Rig

FIX = "humanoid, or the path of an SMPL-X, SMPL or FLAME model (.npz, .pkl), or of a .safetensors of docs/rigs.md"


def load(name: str) -> Rig:
    """In double precision. Raises Mistake for what is not there, is of no kind that can be read, or is no rig."""
    path = _found(name)
    match path.suffix.lower():
        case ".safetensors":
            from dream3d.rig.own import read
        case ".npz":
            from dream3d.rig.bodies import read_npz as read
        case ".pkl":
            from dream3d.rig.bodies import read_pkl as read
        case _:
            near = ".npz, .pkl, .safetensors"
            raise Mistake(f"{path.name} is of no kind that rigs are read from", where=str(path), near=near, fix=FIX)
    return read(path)


def bundled() -> dict[str, Path]:
    """The rigs in assets/rigs by name."""
    return {path.stem: path for path in sorted((place("assets") / "rigs").glob("*.safetensors"))}


def _found(name: str) -> Path:
    ours = bundled()
    if name in ours:
        return ours[name]
    path = there(name)
    if path is None:
        raise Mistake(f"there is no rig {name!r}", where="renderer.rig", near=", ".join(nearest(name, ours) or ours), fix=FIX)
    return path


def there(name: str) -> Path | None:
    """The file of this name, ~ for a home; None where there is none, or can be none."""
    try:
        path = Path(name).expanduser()
        return path if path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None
