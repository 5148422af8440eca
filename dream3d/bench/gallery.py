"""`bench gallery`: every recipe's own command, its picture, and docs/gallery.md, which shows them all.

A recipe's head says in a few words what it is, and gives one command; that one is run as it stands, but for exports. Everything lies in
one folder and is made only where it is missing, so the same command goes on where it was stopped. Nothing here imports torch before a
scene is drawn.
"""

import math
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dream3d import config, files
from dream3d.bench.compare_grid import Job, run_name
from dream3d.build import place
from dream3d.commands.parser import Parser
from dream3d.errors import Mistake, choices, one_line

SIZE, SIDES, TALL = 128, (0.0, 40.0, 90.0, 180.0), 15.0  # pixels; azimuths of a strip's pictures, their elevation, degrees
ASIDE = 35.0  # azimuth from which a moving scene is shown at four times
GIVEN = {"MY.glb": "assets/meshes/car.ply"}  # what a recipe leaves to its user
QUICK = ("export.mesh=false", "export.frames=2", "keep.preview=0", "keep.checkpoints=1")
SECTIONS = {"Guidance": "One formula each, on 3D Gaussians.", "Representations": "And what else can be optimised."}


@dataclass(frozen=True)
class Entry:
    """A recipe: what its head says of it, and the settings of its command."""

    name: str
    about: str
    settings: tuple[str, ...]

    @property
    def command(self) -> str:
        words = [f"{key}={_quoted(value)}" for key, _, value in (s.partition("=") for s in self.settings)]
        return " ".join([f"python launch.py --config {self.name}.yaml", *words])

    @property
    def section(self) -> str:
        return "Guidance" if self.name.endswith("-gaussian") else "Representations"


def _quoted(value: str) -> str:
    """As a shell has to be told it; a prompt in double quotes, which every shell knows, where nothing inside means more to one."""
    return f'"{value}"' if re.fullmatch(r"[\w ,.'-]*[ '][\w ,.'-]*", value) else shlex.quote(value)


def entry(path: Path) -> Entry:
    """Raises Mistake where a recipe's head has no command of its own."""
    about: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        said = line.removeprefix("#").strip()
        if f"{said} ".startswith(start := f"python launch.py --config {path.name} "):
            try:
                words = [GIVEN.get(word, word) for word in shlex.split(said.removeprefix(start.rstrip()), comments=True)]
            except ValueError as error:
                raise Mistake(f"its command cannot be read: {error}", where=str(path), fix=said) from None
            settings = tuple("=".join(GIVEN.get(part, part) for part in word.split("=", 1)) for word in words)
            return Entry(path.stem, " ".join(about), settings)
        if not line.startswith("#"):
            break
        about.append(said)
    raise Mistake("the head of this recipe has no command", where=str(path), fix=f"#   python launch.py --config {path.name}")


def entries() -> list[Entry]:
    """Of all recipes, by section and name."""
    found = [entry(path) for path in sorted(place("configs").glob("*.yaml"))]
    return sorted(found, key=lambda e: (list(SECTIONS).index(e.section), e.name))


def job(one: Entry, out: Path) -> Job:
    """Its command as a run in `out`, without exports and previews."""
    settings = [setting.replace("=assets/", f"={place('assets')}/") for setting in one.settings] + list(QUICK)
    prompt = config.load(one.name, settings).values["prompt"]
    path = out / "runs" / run_name(one.name, prompt, 0)
    return Job(prompt, 0, config.load(one.name, [*settings, f"out={path}"]), out, one.name)


def parser() -> Parser:
    made = Parser("bench gallery", "Run every recipe as its head says, and show what came out.",
                  ["bench gallery", "bench gallery sds-gaussian vsd-gaussian", "bench gallery --page"])  # fmt: skip
    made.add_argument("names", nargs="*", metavar="NAME", help="of recipes (all)")
    made.add_argument("--out", type=Path, default=Path("gallery"), help="the folder that its runs lie in (gallery)")
    made.add_argument("--page", action="store_true", help="only write the page again")
    return made


def main(words: list[str] | None = None) -> int:
    """Make what is missing, then the page. Exit code 6 where some runs failed."""
    given = parser().parse_args(sys.argv[1:] if words is None else words)
    known, docs = {one.name: one for one in entries()}, _docs()
    for name in given.names:
        if name not in known:
            raise Mistake(f"there is no recipe {name!r}", where="command line", near=choices(name, list(known)))
    if given.page and given.names:
        raise Mistake("the page is written of all recipes", where="--page", fix="without names")
    jobs = [] if given.page else [job(known[name], given.out) for name in given.names or known]
    failed = [one for one in jobs if not shown(one, docs / "gallery" / f"{one.method}.webp")]
    files.write_text(docs / "gallery.md", page(list(known.values()), docs))
    print(docs / "gallery.md")
    return 6 if failed else 0


def _docs() -> Path:
    """Raises Mistake where the package is installed without them."""
    try:
        return place("docs")
    except StopIteration:
        fix = "run it in a checkout of the sources"
        raise Mistake("there is no docs folder to show pictures in", where="bench gallery", fix=fix) from None


def shown(one: Job, picture: Path) -> bool:
    """Whether its run came to an end, and its picture is there."""
    from dream3d.api import load
    from dream3d.bench.quality import generate

    try:
        generate(one)
        save(load(one.run).scene, picture, moves=(one.config.stages[-1]["cameras"].get("frames") or 1) > 1)
    except Mistake as mistake:
        print(one_line(f"{one.method}: {'; '.join(filter(None, (mistake.problem, mistake.where, mistake.fix)))}", 240), file=sys.stderr)
        return False
    print(picture, flush=True)
    return True


def save(scene, path: Path, *, moves: bool = False) -> None:
    """A strip over white: from four sides, or a scene that moves at four times."""
    import torch
    from PIL import Image

    from dream3d.cameras import look_at
    from dream3d.export.views import frames

    degrees = torch.tensor([ASIDE] * 4 if moves else SIDES)
    time = {"time": torch.linspace(0, 1, 4)} if moves else {}
    tall = torch.full((4,), math.radians(TALL))
    pictures = frames(scene, look_at(degrees.deg2rad(), tall, size=SIZE, **time))
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        Image.fromarray(np.concatenate(list(pictures), 1)).save(temporary, format="WEBP", quality=90, method=6)


def page(known: list[Entry], docs: Path) -> str:
    """What there is a picture of, by section."""
    parts = [HEAD]
    for section, about in SECTIONS.items():
        parts.append(f"## {section}\n\n{about}\n")
        for one in known:
            if one.section == section and (docs / "gallery" / f"{one.name}.webp").is_file():
                parts.append(f"### {one.name}\n\n{one.about}\n\n    {one.command}\n\n![{one.name}](gallery/{one.name}.webp)\n")
    if missing := [one.name for one in known if not (docs / "gallery" / f"{one.name}.webp").is_file()]:
        parts.append(f"## Not made yet\n\n{', '.join(missing)}\n")
    return "\n".join(parts)


HEAD = """# Gallery

Written by `python launch.py bench gallery`. Every picture is what the command above it made, with seed 0 and nothing trained unless it
says so; from the front, half from the side, from the side and from behind, or a moving scene at four times.
"""
