"""`blender`: what Blender makes of a file, quads, and a folder for its asset browser. Blender is another program, and optional."""

import json
from pathlib import Path

from dream3d.commands.parser import Parser, one_of
from dream3d.errors import Mistake

WHAT = ("check", "quads", "library", "extension")
EXAMPLES = ["blender check duck/export/mesh.glb --thumbnail duck.png", "blender quads duck/export/mesh.glb --faces 4000 --out duck.obj",
            "blender library assets-of-mine runs/*/*", "blender extension dream3d_assets.zip"]  # fmt: skip


def main(words: list[str]) -> int:
    """Ask Blender."""
    parser = Parser("blender", "Ask Blender (4.2 or newer, or pip install \"dream3d[blender]\"), a program of its own.\n"
                    "check: import a file, say what arrived, and what an artist would complain of.\n"
                    "quads: the surface in quads (QuadriFlow), as an OBJ without uvs.\n"
                    "library: FOLDER, then runs and .glb files: a library for the asset browser, one .blend each.\n"
                    "extension: a .zip that Blender installs (Preferences, Get Extensions, Install from Disk).", EXAMPLES)  # fmt: skip
    parser.add_argument("what", type=one_of(WHAT, "question to Blender"), metavar="|".join(WHAT))
    parser.add_argument("file", type=Path, metavar="FILE", help="glb, gltf, fbx, abc, obj, ply, stl, usdz, blend; a library's folder; .zip")
    parser.add_argument("sources", nargs="*", type=Path, default=[], metavar="RUN", help="of library: runs, and .glb files")
    parser.add_argument("--thumbnail", type=Path, metavar="PNG", help="of check: draw it too, by Cycles")
    parser.add_argument("--faces", type=int, metavar="N", help="of quads: about so many")
    parser.add_argument("--out", type=Path, metavar="OBJ", help="of quads: otherwise NAME_quads.obj beside the file")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long Blender may take (300)")
    parser.add_argument("--json", action="store_true", help="of check: for programs")
    options = parser.parse_args(words)
    _fits(options)
    return {"check": _check, "quads": _quads, "library": _library, "extension": _extension}[options.what](options)


def _fits(options) -> None:
    """Raises Mistake for what the question does not take."""
    given = {"--thumbnail": options.thumbnail, "--faces": options.faces, "--out": options.out, "--json": options.json or None,
             "RUN": options.sources or None}  # fmt: skip
    taken = {"check": ("--thumbnail", "--json"), "quads": ("--faces", "--out"), "library": ("RUN",), "extension": ()}[options.what]
    stray = [name for name, value in given.items() if value is not None and name not in taken]
    lacking = [name for name in ("--faces", "RUN") if name in taken and given[name] is None]
    if stray or lacking:
        problem = f"{options.what} does not take {stray[0]}" if stray else f"what is missing: {lacking[0]}"
        raise Mistake(problem, where="command line", fix="python launch.py blender --help")
    if not 0 < options.seconds <= 1e6:
        raise Mistake(f"Blender needs some seconds, not {options.seconds:g}", where="--seconds", near="--seconds 300")
    if options.what == "quads" and not 8 <= options.faces <= 1_000_000:
        raise Mistake(f"quads are 8 to 1,000,000, not {options.faces}", where="--faces")


def _check(options) -> int:
    from dream3d.blender import told
    from dream3d.blender.call import ask
    from dream3d.files import replacing

    tasks = [{"do": "check", "file": options.file}]
    if options.thumbnail is None:
        answer = ask(tasks, seconds=options.seconds)[0]
    elif options.thumbnail.suffix.lower() != ".png":
        raise Mistake(f"a thumbnail is a .png, not {options.thumbnail.name}", where="--thumbnail")
    else:
        with replacing(options.thumbnail) as temporary:
            answer = ask([*tasks, {"do": "thumbnail", "file": options.file, "picture": temporary}], seconds=options.seconds)[0]
    wrong = told.complaints(answer)
    if options.json:
        print(json.dumps(answer | {"complaints": wrong}, indent=1))
    else:
        print(*told.lines(answer), *(f"but {text}" for text in wrong), sep="\n")
    return 0


def _quads(options) -> int:
    from dream3d.blender.call import ask
    from dream3d.files import replacing

    out = options.out or options.file.with_name(f"{options.file.stem}_quads.obj")
    if out.suffix.lower() != ".obj":
        raise Mistake(f"quads are written as .obj, not {out.name}", where="--out")
    if out.resolve() == options.file.resolve():
        raise Mistake(f"the quads would take the place of {out.name}", where="--out", near=f"--out {out.stem}_quads.obj")
    with replacing(out) as temporary:
        task = {"do": "quads", "file": options.file, "target": temporary, "faces": options.faces}
        (answer,) = ask([task], seconds=options.seconds)
    print(f"{answer['before']} triangles became {answer['quads']} quads and {answer['triangles']} triangles")
    print(out)
    return 0


def _library(options) -> int:
    from dream3d.blender.library import collect

    for path, fresh in collect(options.file, options.sources):
        print(path if fresh else f"{path} (was there)")
    print(f"in Blender: Preferences, File Paths, Asset Libraries, + {options.file}")
    return 0


def _extension(options) -> int:
    from dream3d.blender.library import extension

    if options.file.suffix.lower() != ".zip":
        raise Mistake(f"an extension is a .zip, not {options.file.name}", where="command line")
    extension(options.file)
    print(options.file)
    return 0
