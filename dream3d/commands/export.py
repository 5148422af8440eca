"""`export`: files that artists open, from a run, one of its checkpoints, or a file of somebody else's."""

import json
import re
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from dream3d.check import DEFAULTS
from dream3d.commands.parser import Parser, common, one_of, plug, some, source_up, stored
from dream3d.errors import Mistake, choices
from dream3d.export.formats import formats, named
from dream3d.options import Export

EXAMPLES = ["export duck", "export duck --format glb,usdz --faces 20k --texture 2k --size 1 --origin base",
            "export duck/checkpoints/step_0000200 --format stl --print-size-mm 80", "export chair.obj --faces 5k --lods 3",
            "export duck faces=5000 texture=512", "export --list"]  # fmt: skip
SHORT = {"formats": "format", "metres": "size", "millimetres": "print_size_mm", "faces": "faces", "texture": "texture",
         "origin": "origin", "up": "up", "lods": "lods", "web": "web"}  # fmt: skip
OF_MESHES = ("faces", "texture", "rebake", "fit", "uv", "occlusion", "delight")
FIX = "a run's folder, one of its checkpoints, or a GLB, glTF, OBJ or PLY file, or splats"


def main(words: list[str]) -> int:
    """Check, open, write."""
    options = _parser().parse_intermixed_args(words)
    if options.list:
        print(*table(), sep="\n")
        return 0
    if options.what is None:
        raise Mistake("what is missing: RUN_OR_FILE", where="command line", fix=FIX)
    plug(options.plugin)
    run, folder, file = place(options.what)
    if run is not None and options.source_up is not None:
        raise Mistake("--source-up is of files; a run knows its axes", where="--source-up", near=f"--up {options.source_up.lstrip('-')}")
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        raise Mistake(f"{options.out.name} is a file, and an export is a folder", where="--out", near="--out ANOTHER")
    _own(options.out, run or file)
    options.said = flags(options) | ({"rebake": "always"} if options.rebake else {})
    given = settled(options.said, options.overrides)
    options.keys = {text.removeprefix("export.").partition("=")[0] for text in given}
    given += _again(given)
    return _run(options, run, folder, given) if run is not None else _file(options, file, given)


def _parser() -> Parser:
    parser = Parser("export", "Write files that artists open, from a run, a checkpoint, or a GLB, glTF, OBJ or PLY file.", EXAMPLES)
    parser.add_argument("what", nargs="?", metavar="RUN_OR_FILE", help=FIX)
    parser.add_argument("--format", action="append", default=[], metavar="NAMES", help=f"of {', '.join(formats())}; several with commas")
    parser.add_argument("--faces", metavar="N", help="triangles at most: 5k, 20k, 50k, any number")
    parser.add_argument("--texture", metavar="N", help="texels a side: 1k, 2k, 4k, any number")
    parser.add_argument("--size", metavar="METRES", help="length of the longest side")
    parser.add_argument("--origin", type=one_of(["base", "center"], "origin"), help="base: the middle of the bottom; center: as it is")
    parser.add_argument("--up", type=one_of(["y", "z"], "axis that points up"), help="in files; otherwise what their readers expect")
    parser.add_argument("--lods", metavar="N", help="levels of detail of the glb, each with a quarter of the faces of the one before")
    parser.add_argument("--print-size-mm", metavar="N", help="longest side in files for printing; otherwise a metre is 1000")
    parser.add_argument("--web", action="store_true", default=None, help="smaller files that not every program reads")
    parser.add_argument("--rebake", action="store_true", help="give a mesh with a texture of its own new uvs and textures")
    source_up(parser)
    parser.add_argument("--out", type=some, metavar="FOLDER", help="otherwise the run's export folder; of NAME.glb NAME-export")
    parser.add_argument("--list", action="store_true", help="what each format takes, needs, and writes; stop")
    common(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the export section: faces=5000 delight=true")
    return parser


def table() -> list[str]:
    """A line for each format: name, what it takes, what has to be installed, its file, what it is."""
    rows = [("format", "takes", "needs", "file", "")]
    for form in formats().values():
        kept = ", ".join(dict.fromkeys(form.files.values()))
        rows.append((form.name, ", ".join(form.files), f"dream3d[{form.extra}]" if form.extra else "", kept, form.about))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip() for row in rows]


def place(what: str) -> tuple[Path | None, Path | None, Path | None]:
    """(run, checkpoint, file): the run and, of a checkpoint's folder, that; or a file. Raises Mistake for what is neither."""
    from dream3d.convert import source

    path = Path(what)
    if path.resolve().parent.name == "checkpoints" and source.is_run(path.resolve().parents[1]):
        if not (path / "state.json").is_file():
            near = ", ".join(str(path.parent / p.name) for p in sorted(path.resolve().parent.glob("step_*"))[-3:])
            raise Mistake(f"{what!r} is no checkpoint", where=what, near=near, fix=FIX)
        return path.parent.parent if path.parent.name == "checkpoints" else path.resolve().parents[1], path, None
    found = source.place(what)
    return (found, None, None) if source.is_run(found) else (None, None, found)


def _own(target: Path | None, what: Path) -> None:
    """Raises Mistake where files would take the place of those of another run."""
    from dream3d.convert import source

    owner = None if target is None else target.resolve().parent
    if owner and target.resolve().name == "export" and source.is_run(owner) and not what.resolve().is_relative_to(owner):
        raise Mistake(f"{target} holds the files of another run", where="--out", near=f"--out {target.parent / what.stem}-export")


def flags(options) -> dict[str, str]:
    """The flags that were given, as settings of the export section."""
    said: dict[str, Any] = {key: getattr(options, flag) for key, flag in SHORT.items()}
    said["formats"] = _names(options.format)
    said |= {"faces": _count("--faces", options.faces, 1000), "texture": _count("--texture", options.texture, 1024)}
    said |= {key: _number(flag, said[key]) for key, flag in (("metres", "--size"), ("millimetres", "--print-size-mm"), ("lods", "--lods"))}
    return {key: "true" if value is True else str(value) for key, value in said.items() if value is not None}


def settled(said: dict[str, str], overrides: list[str]) -> list[str]:
    """Flags, as settings of the export section, and key=value words (`export.` before them may be there) as overrides. Raises Mistake
    for a word that is no setting of the section, and where a flag and a word say different things."""
    words = {}
    for text in overrides:
        key, equals, value = text.removeprefix("export.").partition("=")
        if not equals:
            raise Mistake(f"{text!r} is no setting: one run or file at a time, then key=value", where="command line", near=f"{key}=VALUE")
        if key not in Export.__dataclass_fields__:
            of_run = key.split(".")[0] in DEFAULTS
            problem = f"{key} is of the run, which an export does not change" if of_run else f"an export has no setting {key!r}"
            near = choices(key, Export.__dataclass_fields__)
            raise Mistake(problem, where="command line", near=near, fix="python launch.py describe export")
        if key in said and said[key] != value:
            names = ",".join(re.findall(r"'([^']+)'", said[key])) if key == "formats" else said[key]
            flag = "--rebake" if key == "rebake" else f"{_flag(key)} {names}"
            raise Mistake(f"{key} is said twice: {flag}, and {text}", where="command line", fix="say one of them")
        words[key] = value
    return [f"export.{key}={value}" for key, value in (said | words).items()]


def _flag(key: str) -> str:
    """What a setting of the section is called as a flag."""
    return f"--{SHORT[key].replace('_', '-')}"


def _spoken(mistake: Mistake, said: set[str]) -> Mistake:
    """As whoever wrote the command line said it: these as flags, other settings without `export.`."""

    def spoken(text: str) -> str:
        for key in said:
            text = re.sub(rf"\bexport\.{key}=(?=\S)", f"{_flag(key)} ", text)
            text = re.sub(rf"\bexport\.{key}\b", _flag(key), text)
        return text.replace("export.", "")

    near = "" if mistake.near.endswith("=null") else mistake.near
    return Mistake(spoken(mistake.problem), where=spoken(mistake.where), near=spoken(near), fix=spoken(mistake.fix), code=mistake.code)


def _names(given: list[str]) -> str | None:
    """Formats as YAML: quoted, since 3mf is no number but 3e4 would be one."""
    names = [name.strip().lower() for text in given for name in text.split(",") if name.strip()]
    if given and not names:
        raise Mistake("--format names none", where="--format", near=", ".join(formats()))
    return f"[{', '.join(repr(named(name).name) for name in names)}]" if given else None


def _count(flag: str, text: str | None, thousand: int) -> int | None:
    """5k as 5000, or of texels 2k as 2048."""
    if text is None:
        return None
    if not (found := re.fullmatch(r"(\d{1,9})(k?)", text.strip().lower())):
        raise Mistake(f"{flag}: expected a whole number, or one like 5k, but it is {text!r}", where=flag, near=f"{flag} 5k, {flag} 20000")
    return int(found[1]) * (thousand if found[2] else 1)


def _number(flag: str, text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d{1,2})?", text.strip(), re.IGNORECASE):
        raise Mistake(f"{flag}: expected a number, but it is {text!r}", where=flag, near=f"{flag} 1")
    return None if text is None else text.strip()


def _again(given: list[str]) -> list[str]:
    """Whoever asks for other triangles or texels than a mesh has, asks for new uvs too."""
    keys = [text.partition("=")[0] for text in given]
    if "export.rebake" in keys:
        return []
    return ["export.rebake=always"] if "export.texture" in keys else ["export.rebake=larger"] * ("export.faces" in keys)


def _run(options, run: Path, folder: Path | None, given: list[str]) -> int:
    config = stored(run)
    chosen = settings(str(run / "config.yaml"), given, options.said)
    target = options.out or (run / "export" if folder is None else run / "export" / folder.name)

    from dream3d.export import opened
    from dream3d.folder import lock

    found = opened.of_run(run, config, folder)
    home = target.resolve() == (run / "export").resolve()
    with lock(run, f"wait, or: python launch.py export {run} --out ANOTHER") if home else nullcontext():
        made = write(found, target, chosen, pictures=not options.format, quiet=options.quiet, said=options.keys)
        if home and {"mesh", "splats"} & made.keys():
            made |= _pages(run, made, config.values["prompt"])
    return _told(made, options.quiet)


def _file(options, file: Path, given: list[str]) -> int:
    chosen = settings(None, given, options.said)
    target = options.out or Path(f"{file.stem}-export")
    from dream3d.export import opened

    written = {name for form in map(named, chosen.formats or ["glb", "ply"]) for name in form.files.values()}
    if file.name in written and (target / file.name).resolve() == file.resolve():
        raise Mistake(f"an export there would take the place of {file.name}", where=str(target), fix="--out ANOTHER")
    found = opened.of_file(file, options.source_up)
    if not options.quiet:
        for line in found.said:
            print(f"{file.name}: {line}", file=sys.stderr)
    return _told(write(found, target, chosen, pictures=not options.format, quiet=options.quiet, said=options.keys), options.quiet)


def settings(recipe: str | None, given: list[str], said: Iterable[str] = ()) -> Export:
    """The export section of a recipe (None: the defaults) with what was given, checked; `said`: what of it was said as flags."""
    from dream3d import config

    if recipe is None:  # any recipe will do, without what it says of exports
        recipe, given = "sds-gaussian", ["export={}", *given]
    try:
        return Export(**config.load(recipe, given).values["export"])
    except Mistake as mistake:
        raise (_spoken(mistake, {*said} & {*SHORT}) if "export." in mistake.problem else mistake) from None


def idle(chosen: Export) -> list[str]:
    """What is asked for that none of the formats heeds."""
    names = {"glb"} if chosen.formats is None and chosen.mesh else set(chosen.formats or ())
    found = ["--print-size-mm is for stl and 3mf, which are not asked for"] if chosen.millimetres and not names & {"stl", "3mf"} else []
    return found + (["--web is for glb, which is not asked for"] if chosen.web and "glb" not in names else [])


def meshless(said: Iterable[str]) -> list[str]:
    """Of settings that were said, those of meshes, where none was written."""
    found = [_flag(key) if key in SHORT else key for key in OF_MESHES if key in said]
    return [f"{', '.join(found)}: of meshes, and none is written"] if found else []


def needless(said: set[str], stock) -> list[str]:
    """Of settings that were said, those that this scene has no use for."""
    found = ["fit: this scene is a mesh already, which stays where it is"] if "fit" in said and stock.settings.fit and stock.whole else []
    timed = [key for key in ("moments", "seconds") if key in said]
    return found + ([f"{', '.join(timed)}: this scene stands still"] if timed and stock.clip is None else [])


def write(found, folder: Path, settings, *, pictures: bool = True, quiet: bool = True, said: Iterable[str] = ()) -> dict[str, Path]:
    """The files of an opened scene. Progress goes to stderr, and what of the settings that were `said` nothing heeds."""
    import torch

    from dream3d.export.asset import export
    from dream3d.export.noted import noted
    from dream3d.export.roomy import check_room
    from dream3d.export.stock import Stock
    from dream3d.progress import Display

    check_room(settings)
    with Display(quiet=quiet) as show, torch.no_grad():
        show.begin("export", 100)
        for text in [*idle(settings), *["mesh=false is of what is written without --format"] * ("mesh" in said and not pictures)]:
            show.line(f"note: {text}")
        for text in needless({*said}, Stock(found.scene, settings, found.own)):
            show.line(f"note: {text}")

        def progress(what: str, share: float) -> None:
            show.step(round(100 * share), what)

        with noted(show.line):
            made = export(found.scene, folder, settings, extras=found.facts, progress=progress, tell=show.line, pictures=pictures,
                          own=found.own, back=found.back)  # fmt: skip
        for text in meshless(said) if "health" not in made else ():
            show.line(f"note: {text}")
        return made


def _pages(run: Path, made: dict[str, Path], prompt: str | list[str]) -> dict[str, Path]:
    """viewer.html and report.html with the new files, and those of the others that are there already."""
    from dream3d.export.asset import pages
    from dream3d.export.record import EXPORTS

    names = EXPORTS | {"sequence": named("sequence").files["splat-clip"]}  # still a run has none, and a report misses none
    there = {kind: path for kind, name in names.items() if (path := run / "export" / name).is_file()}
    return pages(run, there | made, prompt)


def _told(made: dict[str, Path], quiet: bool) -> int:
    """The files on stdout, and what the mesh is fit for on stderr."""
    from dream3d.export.health import Health

    if "health" in made and not quiet:
        read = json.loads(made["health"].read_text(encoding="utf-8"))
        found = Health(**{name: tuple(value) if isinstance(value, list) else value for name, value in read.items()})
        print(*found.told(), sep="\n", file=sys.stderr)
    print(*made.values(), sep="\n")
    return 0
