"""viewer.html of a run or of a file, made where it is missing."""

import contextlib
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from dream3d.errors import Mistake
from dream3d.export.viewer import write_viewer

PLAIN = (".glb", ".ply")  # what a page can hold as it is
LIMIT = 1 << 22  # bytes of a sequence.json
MOST = 10_000


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
    return write_viewer(page, splats=files.get("splats"), mesh=files.get("mesh"), title=title, **moving(clip))


def moving(clip: Path | None) -> dict[str, Any]:
    """The same as `sequence`; nothing where there is none, or it is of meshes, which their .glb plays."""
    try:
        return sequence(clip) if clip is not None and clip.is_file() else {}
    except Mistake:
        return {}


def of_file(path: Path, target: Path) -> Path:
    """The viewer of a GLB, glTF, OBJ, PLY or sequence.json, written to `target`; an HTML file is itself."""
    if path.suffix.lower() in (".html", ".htm"):
        return path
    if path.name == "sequence.json":
        return write_viewer(target, splats=None, mesh=None, title=path.parent.name, **sequence(path))
    splats, mesh = _plain(path)
    if splats or mesh:
        return write_viewer(target, splats=splats, mesh=mesh, title=path.name)
    from dream3d.export.glb import write_glb
    from dream3d.export.splat import write_ply
    from dream3d.foreign.load import load
    from dream3d.types import Mesh

    data, _ = load(path)
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


def sequence(path: Path) -> dict[str, Any]:
    """frames and times for write_viewer, of a sequence.json of Gaussians beside its frames. Raises Mistake where it is none."""

    def broken(why: str) -> Mistake:
        fix = "python launch.py export RUN --format sequence"
        return Mistake(f"{path.name} is no sequence of Gaussians: {why}", where=str(path), fix=fix)

    try:
        if path.stat().st_size > LIMIT:
            raise broken(f"it is larger than {LIMIT >> 20} MiB")
        told = json.loads(path.read_text(encoding="utf-8"))
        entries = [(entry["file"], entry["time"]) for entry in told["frames"]]
        kind, up = told["kind"], told.get("up", "z")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise broken(f"{type(error).__name__}") from None
    if kind != "splats":
        raise broken(f"it holds {str(kind)[:20]}; its mesh as a .glb is played")
    if up != "z":
        raise broken("its frames do not have z up; export it with --up z")
    if not 0 < len(entries) <= MOST or not all(isinstance(name, str) and re.fullmatch(r"\w+\.ply", name) for name, _ in entries):
        raise broken("its frames are no .ply files beside it")
    if not all(type(time) in (int, float) and 0 <= time < 1e6 for _, time in entries):
        raise broken("its times are no seconds")
    return {"frames": [path.with_name(name) for name, _ in entries], "times": [float(time) for _, time in entries]}
