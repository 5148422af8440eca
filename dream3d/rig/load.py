"""A rig by its name in assets/rigs, or from a user's file."""

from dream3d.rig import find
from dream3d.rig.types import Rig


def load(name: str) -> Rig:
    """In double precision. Raises Mistake for what is not there, is of no kind that can be read, or is no rig."""
    return find.read(find.rig(name) or find.bundled()[name]).rig()
