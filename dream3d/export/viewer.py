"""viewer.html: one file that shows an asset in any browser, offline, from file://. Same files and title, same bytes."""

from pathlib import Path

import dream3d
from dream3d.export import page


def write_viewer(path: Path, *, splats: Path | None, mesh: Path | None, title: str) -> Path:
    """A page to orbit splats.ply and mesh.glb, switchable, in the pose and colours of our own pictures; it holds copies of
    both files. Without either it says so. Raises Mistake where the disk is full."""
    bundle, boot = page.script("viewer.js"), page.script("viewer-boot.js")
    parts = {
        "policy": page.text(page.policy(bundle, boot)),
        "version": dream3d.__version__,
        "title": page.text(title if len(title) <= 300 else title[:299] + "\u2026"),
        "style": page.web("viewer.css"),
        "licences": page.text(page.web("LICENSES.txt")),
        "data": page.blocks({name: file for name, file in (("splats", splats), ("mesh", mesh)) if file is not None}),
        "bundle": bundle,
        "boot": boot,
    }
    return page.write(Path(path), page.web("viewer.html"), parts)
