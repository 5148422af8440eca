"""What an export can be made of, and whether what is asked for can be made: of a scene, and of a configuration before its run. No torch.

A representation says in `gives: ClassVar[dict[str, str]]` what it is besides a mesh, each of dream3d.export.formats.KINDS with the
condition on its settings under which it is that.
"""

import re
from typing import Any

from dream3d import build, claims, parts
from dream3d.errors import Mistake
from dream3d.export.formats import Format, formats, named
from dream3d.options import Export

SIZES = (1e-6, 1e9)  # of the longest side: float32 holds areas and volumes of these
WHAT = {"mesh": "meshes", "splats": "Gaussians", "mesh-clip": "meshes that move", "splat-clip": "Gaussians that move",
        "skin": "bodies on joints"}  # fmt: skip
KEYS = {"--lods": "lods", "--size": "metres", "--print-size-mm": "millimetres"}
MOVING = frozenset({"mesh-clip", "splat-clip", "skin"})


def asked(settings: Export, kinds: frozenset[str]) -> list[Format]:
    """The formats to be written of a scene of these kinds. Raises Mistake for one that takes none of them, for levels of detail without a
    glb, and for a size that files do not hold. Whether what they need is installed is not looked at."""
    names = _usual(settings, kinds) if settings.formats is None else settings.formats
    if settings.formats is not None and not names:
        raise Mistake("no format is asked for", where="export.formats", near=", ".join(formats()), fix="--format glb")
    if settings.lods and "glb" not in names:
        raise Mistake("levels of detail are glb files", where="--lods", fix=f"--format {','.join([*names, 'glb'])}")
    for flag, length in (("--size", settings.metres), ("--print-size-mm", settings.millimetres)):
        if length is not None and not SIZES[0] <= length <= SIZES[1]:
            raise Mistake(f"{flag} {length:g}: files hold {SIZES[0]:g} to {SIZES[1]:g}", where=flag, near=f"{flag} 1")
    wanted = [named(name) for name in dict.fromkeys(names)]
    for form in wanted:
        if not kinds & form.files.keys():
            raise _unfit(form, kinds)
    return wanted


def check_run(config) -> None:
    """Raises Mistake where the export at the end of a run would, as far as its configuration tells."""
    renderer = config.stages[-1]["renderer"]
    kinds = known(renderer) or frozenset(WHAT)
    try:
        asked(Export(**config.values["export"]), kinds)
    except Mistake as mistake:
        key, problem, near, fix = KEYS.get(mistake.where, "formats"), mistake.problem, mistake.near, mistake.fix
        if key != "formats":  # of a recipe, not of the command line
            problem, near = (text.replace(f"{mistake.where} ", f"export.{key}=") for text in (problem, near))
        elif "this scene" in problem:
            problem = problem.replace("this scene", f"a scene of renderer {renderer['type']!r}")
            later = "" if "splats" in kinds else ", or convert the run to Gaussians when it is done"
            fix = f"export.formats without {problem.split()[0]}{later}"
        fix = re.sub(r"--format (\S+)", r"export.formats=[\1]", fix)
        where = config.where(f"export.{key}") or f"export.{key}"
        raise Mistake(problem, where=where, near=near, fix=fix, code=mistake.code) from None


def known(renderer: dict[str, Any]) -> frozenset[str] | None:
    """The kinds of files that a scene can be, by its complete settings; None where its class does not say."""
    said = build.signature("renderers", renderer["type"]).gives
    if said is None:
        return None
    kinds = claims.offered(said, renderer) | {"mesh"}
    held = [known(part) for part in parts.within("renderers", renderer)]
    return kinds if not held else None if None in held else kinds | _joined(frozenset().union(*held))


def _joined(held: frozenset[str]) -> frozenset[str]:
    """Of objects as one scene: Gaussians where one of them is, then no mesh moves; joints are lost."""
    if "splats" not in held:
        return held & {"mesh-clip"}
    return frozenset({"splats"} | ({"splat-clip"} & held if "mesh-clip" not in held else set()))


def _usual(settings: Export, kinds: frozenset[str]) -> list[str]:
    """What is written where nothing is asked for: also the moments that a page plays."""
    return [name for name, there in (("ply", "splats" in kinds), ("glb", settings.mesh), ("sequence", "splat-clip" in kinds)) if there]


def _unfit(form: Format, kinds: frozenset[str]) -> Mistake:
    """What a format is for, what there is instead, and how to come by what it takes."""
    there = [name for name, other in formats().items() if kinds & other.files.keys()]
    moves, gaussian = form.files.keys() <= MOVING and not kinds & MOVING, "splats" in kinds
    problem = f"{form.name} holds {' or '.join(WHAT[kind] for kind in form.files)}; this scene "
    problem += "stands still" if moves else "is made of Gaussians" if gaussian else "has no Gaussians"
    fix = "" if moves or gaussian else "python launch.py convert RUN --to gaussians makes them"
    return Mistake(problem, where="--format", near=", ".join(there), fix=fix)
