"""What moves as a folder of .ply files, one per moment, and a sequence.json that says when each is.

Gaussians as the format ply writes them, the same ones in the same order; meshes with a colour per vertex. Frames of an earlier export that
are no longer of the sequence are removed; sequence.json is written last, so that what it names is there.
"""

import dataclasses
import re
import warnings
from pathlib import Path

import dream3d
from dream3d.clips import Frames, MeshClip, SplatClip
from dream3d.errors import Mistake
from dream3d.export.formats import Ask
from dream3d.export.mesh_ply import write_mesh_ply
from dream3d.export.solid import painted
from dream3d.export.splat import write_ply
from dream3d.files import write_json
from dream3d.types import Mesh

FILES = {"splat-clip": "sequence/sequence.json", "mesh-clip": "sequence/sequence.json"}
UP = "z"
EXTRA = ""
MOST = 10_000  # frames that four digits count
LARGEST = 256 << 20  # bytes of frames where nobody asked for them


def fewer(clip: SplatClip, most: int = LARGEST) -> SplatClip:
    """The clip, or, where its frames would take more than `most` bytes, every second moment of it (or third, ...) and the last one, with
    a warning that says so."""
    first, count = clip.frames[0], len(clip.frames)
    each = 4 * len(first.position) * (14 + 3 * (1 if first.sh is None else first.sh.shape[1]))
    every = max(1, -(-each * count // most))
    if every == 1:
        return clip
    kept = sorted({*range(0, count, every), count - 1})
    warnings.warn(f"sequence: {len(kept)} of {count} moments, since all would take {each * count / 1e6:,.0f} MB; "
                  "--format sequence writes them", stacklevel=2)  # fmt: skip
    return SplatClip(Frames(lambda k: clip.frames[kept[k]], len(kept)), clip.times[kept])


def write(item: SplatClip | MeshClip, path: Path, ask: Ask) -> None:
    """Raises Mistake for more moments than file names count, and as the writers of frames do."""
    if len(item.times) > MOST:
        raise Mistake(f"{len(item.times)} moments are more than the {MOST} that a sequence counts", where="export.moments")
    up, names = ask.up or UP, [f"frame_{k:04d}.ply" for k in range(len(item.times))]
    for name, frame in zip(names, _frames(item), strict=True):
        if isinstance(frame, Mesh):
            write_mesh_ply(frame, path.with_name(name), dataclasses.replace(ask, up=up))
        else:
            write_ply(frame, path.with_name(name), up=up)
    for old in path.parent.glob("frame_*.ply"):
        if re.fullmatch(r"frame_\d{4}\.ply", old.name) and old.name not in names:
            old.unlink()
    splats = isinstance(item, SplatClip)
    times = [round(time, 6) for time in item.times.tolist()]
    write_json(path, {
        "version": 1,
        "generator": f"dream3d {dream3d.__version__}",
        "kind": "splats" if splats else "mesh",
        "count": len(item.frames[0].position) if splats else len(item.mesh.vertices),
        "up": up,
        "unit": "metre",
        "seconds": times[-1],
        "frames": [{"file": name, "time": time} for name, time in zip(names, times, strict=True)],
        "facts": ask.facts,
    })  # fmt: skip


def _frames(item: SplatClip | MeshClip):
    """Every moment's Gaussians or mesh."""
    if isinstance(item, SplatClip):
        return item.frames
    colour = painted(item.mesh)
    rgb = None if colour is None else item.mesh.vertices.new_tensor(colour)
    return (Mesh(place, item.mesh.faces, rgb=rgb) for place in item.places)
