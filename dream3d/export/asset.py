"""Everything a finished scene leaves behind: splats.ply, mesh.glb, turntable.mp4, thumbnail.png, contact.png; and the pages
that show them, viewer.html and report.html."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from dream3d.export.decimate import closed
from dream3d.export.density import surface_of
from dream3d.export.glb import write_glb
from dream3d.export.report import write_report
from dream3d.export.splat import write_ply
from dream3d.export.surface import surface
from dream3d.export.texture import bake
from dream3d.export.video import contact_sheet, thumbnail, turntable
from dream3d.export.viewer import write_viewer
from dream3d.interfaces import Representation
from dream3d.options import Export
from dream3d.types import Field, Mesh, Points


def export(
    scene: Representation,
    folder: Path,
    settings: Export = Export(),
    *,
    extras: dict,
    progress: Callable[[str, float], None] | None = None,
    keep: bool = False,
) -> dict[str, Path]:
    """Writes the asset into `folder` and returns the files by kind: thumbnail, contact, splats (where the scene is made
    of Gaussians), turntable, mesh (where `settings` want it). `extras` describe it inside the mesh file (prompt, seed, recipe; lighting is
    "baked", or "material"). `progress` hears the file's name and the share done before it. With `keep`, files that are there are not
    made again. Raises Mistake for a scene with nothing in it and for a full disk; files finished before stay."""
    folder, handed, size = Path(folder), _settled(scene.handover()), settings.size
    extras = {"lighting": "material" if _material(handed) else "baked"} | extras
    steps = {
        "thumbnail": ("thumbnail.png", lambda path: thumbnail(scene, path, size)),
        "contact": ("contact.png", lambda path: contact_sheet(scene, path, size=size)),
        "splats": ("splats.ply", lambda path: write_ply(handed, path)),
        "turntable": ("turntable.mp4", lambda path: turntable(scene, path, frames=settings.frames, size=size)),
        "mesh": ("mesh.glb", lambda path: write_glb(_mesh(scene, handed, settings), path, extras)),
    }
    missing = [kind for kind, there in (("splats", _splats(handed)), ("mesh", settings.mesh)) if not there]
    steps = {kind: step for kind, step in steps.items() if kind not in missing}
    for number, (name, write) in enumerate(steps.values()):
        if progress is not None:
            progress(name, number / len(steps))
        if not (keep and (folder / name).is_file()):
            write(folder / name)
    return {kind: folder / name for kind, (name, _) in steps.items()}


def pages(
    run: Path, made: dict[str, Path], prompt: str | list[str], *, status: dict[str, Any] | None = None
) -> dict[str, Path]:
    """viewer.html and report.html of a run folder whose files `export` has `made`, by kind. `status` as in write_report."""
    title = prompt if isinstance(prompt, str) else " / ".join(prompt)
    target = Path(run) / "export" / "viewer.html"
    viewer = write_viewer(target, splats=made.get("splats"), mesh=made.get("mesh"), title=title)
    return {"viewer": viewer, "report": write_report(run, status=status)}


def _settled(data: Points | Mesh | Field) -> Points | Mesh | Field:
    """The same on the CPU, without gradients."""
    values = {f.name: getattr(data, f.name) for f in dataclasses.fields(data)}
    return dataclasses.replace(data, **{k: v.detach().cpu() for k, v in values.items() if isinstance(v, Tensor)})


def _mesh(scene: Representation, handed: Points | Mesh | Field, settings: Export) -> Mesh:
    """A mesh with a texture as it is: nothing has to be unwrapped again, and a user's keeps its triangles and uv. Else the scene's own
    mesh where that is closed, the surface of its Gaussians, or what renders show; with colour."""
    if isinstance(handed, Mesh) and handed.uv is not None and handed.texture is not None:
        return handed
    if isinstance(handed, Mesh) and closed(handed.faces):
        mesh = handed
    else:
        fine = {"resolution": settings.resolution}
        mesh = surface_of(handed, **fine) if _splats(handed) else surface(scene, **fine, size=settings.size)
    return bake(mesh, scene, faces=settings.faces, texture=settings.texture, size=2 * settings.size)


def _material(data: Points | Mesh | Field) -> bool:
    return isinstance(data, Mesh) and data.orm is not None


def _splats(data: Points | Mesh | Field) -> bool:
    return isinstance(data, Points) and None not in (data.scale, data.rotation, data.opacity)
