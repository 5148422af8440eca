"""viewer.html: one file that shows an asset in any browser, offline, from file://. Same files and title, same bytes."""

from pathlib import Path

import dream3d
from dream3d.export import page
from dream3d.export.held import held
from dream3d.export.moments import Moments


def write_viewer(path: Path, *, splats: Path | None, mesh: Path | None, title: str, moving: Moments = Moments()) -> Path:
    """A page to orbit splats.ply and mesh.glb, switchable, in the pose and colours of our own pictures; it holds copies of
    both files. What a .glb animates is played, and so are moments of Gaussians, which take the place of `splats`. Without any it says
    so. Raises Mistake where the disk is full, and for moments that do not fit together."""
    bundle, boot = page.script("viewer.js"), page.script("viewer-boot.js")
    parts = {
        "policy": page.text(page.policy(bundle, boot)),
        "version": dream3d.__version__,
        "title": page.text(title if len(title) <= 300 else title[:299] + "\u2026"),
        "style": page.web("viewer.css"),
        "licences": page.text(page.web("LICENSES.txt")),
        "data": held(splats, mesh, moving),
        "bundle": bundle,
        "boot": boot,
    }
    return page.write(Path(path), page.web("viewer.html"), parts)
