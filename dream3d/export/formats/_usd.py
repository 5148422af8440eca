"""What both files of OpenUSD do."""

from dream3d.clips import MeshClip, Skin, posed
from dream3d.types import Mesh


def plain(item: Mesh | MeshClip | Skin) -> Mesh | MeshClip | Skin:
    """A body whose poses add something at rest, as a mesh that moves: a skeleton alone would lose that."""
    return posed(item) if isinstance(item, Skin) and item.bends is not None else item
