"""Sections of a configuration that are not plug-ins: plain settings, readable without torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Interval

from dream3d.export.formats import formats
from dream3d.schedule import Count, Elevation, NonNegative, Positive, Side, Whole

Format = Literal[tuple(formats())]
TEXTS = ("prompt", "regions", "source")  # what a term is told besides its settings


def regions(text: str | None) -> list[str]:
    """The prompts of the objects of a scene, in the order of their labels: "a red ball | a blue cube"."""
    return [prompt.strip() for prompt in text.split("|")] if text else []


@dataclass(frozen=True)
class Words:
    """The `text` section. views: append ", front view" and so on; front, overhead: where they begin, in degrees. blend: words change
    gradually, a camera between front and side is told of both; perp_neg: how strongly Perp-Neg keeps a view from what the other
    sides show (1 as published, 0 off); leave_out: words that a view is not told, {back: smiling}; debias: a masked language model
    (a folder or a hub's name) that finds such words."""

    views: bool = True
    front: Annotated[float, Interval(ge=0, le=90)] = 45.0
    overhead: Elevation = 60.0
    blend: bool = False
    perp_neg: NonNegative = 0.0
    leave_out: dict[Literal["front", "side", "back", "overhead"], str] | None = None
    debias: str | None = None


@dataclass(frozen=True)
class Init:
    """The `init` section, or the file's name alone: what the first stage starts from, and, written in a stage, what that one does. file: a
    GLB, glTF, OBJ or PLY file: a mesh, points, or Gaussians. fit: move and scale it into [-0.7, 0.7]^3 (null: where it is not inside
    [-0.75, 0.75]^3, or much smaller). up: the axis that points up in it (null: y, but z in a PLY; -y: y points down, as in many
    captures). sha256: of the file and of what it names, found when a run begins and kept with it."""

    file: str | None = None
    fit: bool | None = None
    up: Literal["y", "z", "-y"] | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Keep:
    """The `keep` section: a preview strip every `preview` steps; a checkpoint every `steps` steps and every `seconds` seconds,
    of which the newest `checkpoints` are kept; 0 switches one off."""

    preview: Whole = 200
    steps: Whole = 200
    seconds: NonNegative = 30.0
    checkpoints: Count = 3


@dataclass(frozen=True)
class Export:
    """The `export` section. formats: files of the asset besides its pictures (null: glb, of Gaussians ply, of moving ones sequence too;
    `list formats` names them); mesh: false leaves the glb of null out. faces: triangles of the mesh; texture: side of its texture in pixels
    (a scene that is a mesh with a texture keeps both, unless `rebake` says always, or larger: where it has more than `faces`); resolution:
    grid of the surface reconstruction; frames: of the turntable; size: side of pictures, and of the views that surface and (twice that)
    colour are taken from. fit: the surface of what is soft is moved until pictures of it are most like the scene's (2 dB nearer for
    Gaussians, 4 for volumes; false saves a quarter of a minute, or more).

    metres: the longest side (null: as it is); origin: as it is (center), or the middle of the bottom (base); up: the axis that points up
    in files (null: the format's own); lods: levels of detail of the glb, each with a quarter of the faces of the one before (0: none);
    millimetres: the longest side in files for printing (null: a metre is 1000); web: files small rather than read by everybody. uv: charts
    by xatlas (atlas), projections (fast), or whichever the number of faces asks for (auto); occlusion: baked where the asset has a
    material; delight: light that is baked into colours is estimated and divided out. moments: of what moves, over `seconds`."""

    mesh: bool = True
    formats: list[Format] | None = None
    faces: Annotated[int, Ge(4)] = 10000
    texture: Annotated[int, Ge(16)] = 1024
    rebake: Literal["never", "larger", "always"] = "never"
    resolution: Annotated[int, Ge(8)] = 128
    frames: Count = 60
    size: Side = 256
    fit: bool = True
    metres: Positive | None = None
    origin: Literal["center", "base"] = "center"
    up: Literal["y", "z"] | None = None
    lods: Annotated[int, Interval(ge=0, le=6)] = 0
    millimetres: Positive | None = None
    web: bool = False
    uv: Literal["auto", "atlas", "fast"] = "auto"
    occlusion: bool = True
    delight: bool = False
    moments: Annotated[int, Interval(ge=2, le=512)] = 24
    seconds: Positive = 1.0
