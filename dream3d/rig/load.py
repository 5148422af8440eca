"""A rig by its name in assets/rigs, or from a user's file."""

from dream3d.rig import find
from dream3d.rig.types import Rig


def load(name: str) -> Rig:
    """In double precision. Raises Mistake for what is not there, is of no kind that can be read, or is no rig."""
    path = find.rig(name) or find.bundled()[name]
    match path.suffix.lower():
        case ".safetensors":
            from dream3d.rig.own import read
        case ".npz":
            from dream3d.rig.bodies import read_npz as read
        case _:
            from dream3d.rig.bodies import read_pkl as read
    return read(path)
