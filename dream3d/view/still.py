"""viewer.html of a run or of a file, made where it is missing."""

import contextlib
import re
import sys
import tempfile
from pathlib import Path

from dream3d.errors import Mistake
from dream3d.export.moments import moving, sequence
from dream3d.export.viewer import write_viewer

PLAIN = (".glb", ".ply")  # what a page can hold as it is


def of_run(run: Path) -> Path:
    """The viewer of a run's exported files; without them the run is exported first. What lies beside it is newer than it: made anew."""
    page, exported = run / "export" / "viewer.html", run / "export"
    files = {kind: exported / name for kind, name in (("splats", "splats.ply"), ("mesh", "mesh.glb")) if (exported / name).is_file()}
    clip = exported / "sequence" / "sequence.json"
    if page.is_file() and all(path.stat().st_mtime <= page.stat().st_mtime for path in (*files.values(), clip) if path.is_file()):
        return page
    if not files:
        from dream3d.commands import export

        with contextlib.redirect_stdout(sys.stderr):  # stdout is the page's alone
            export.main([str(run), "--quiet", "formats=null", "mesh=true"])  # whatever the run writes at its end: a page holds these
        return page
    from dream3d.commands.parser import stored

    prompt = stored(run).values["prompt"]
    title = prompt if isinstance(prompt, str) else " / ".join(prompt)
    return write_viewer(page, splats=files.get("splats"), mesh=files.get("mesh"), title=title,
                        moving=moving(clip, files.get("splats")))  # fmt: skip


def of_file(path: Path, target: Path, up: str | None = None) -> Path:
    """The viewer of a GLB, glTF, OBJ, PLY or sequence.json, written to `target`; an HTML file is itself. `up`: the axis that points up in
    the file (None: as it says itself, or as is usual)."""
    if path.suffix.lower() in (".html", ".htm"):
        return path
    if path.name == "sequence.json":
        return write_viewer(target, splats=None, mesh=None, title=path.parent.name, moving=sequence(path))
    splats, mesh = _plain(path) if up is None else (None, None)
    if splats or mesh:
        return write_viewer(target, splats=splats, mesh=mesh, title=path.name)
    from dream3d.export.glb import write_glb
    from dream3d.export.splat import write_ply
    from dream3d.foreign.load import load
    from dream3d.types import Mesh

    data, _ = load(path, up=up)
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(data, Mesh):
            write_glb(data, mesh := Path(folder) / "mesh.glb", {})
        elif data.scale is None:
            raise Mistake(f"{path.name} holds points, and the viewer shows meshes and Gaussians", where=str(path),
                          fix=f"python launch.py convert {path} --to gaussians")  # fmt: skip
        else:
            write_ply(data, splats := Path(folder) / "splats.ply")
        return write_viewer(target, splats=splats, mesh=mesh, title=path.name)


def _plain(path: Path) -> tuple[Path | None, Path | None]:
    """(splats, mesh): the file itself where the page can read it as it is."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    if head[:4] == b"glTF" and not re.search(rb"KHR_draco|meshopt|basisu|gaussian_splatting", head):
        return None, path
    lines = head[: max(head.find(b"\nend_header"), 0)].split(b"\n")
    ours = all(line.startswith(b"property float ") for line in lines[3:]) and b"property float f_dc_0" in lines
    if lines[:2] == [b"ply", b"format binary_little_endian 1.0"] and ours:
        return path, None
    return None, None

