"""Everything a finished scene leaves behind: pictures of it, files in the formats asked for, and the pages that show them: viewer.html and
report.html."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dream3d import files
from dream3d.export.fits import asked
from dream3d.export.formats import Ask, Format
from dream3d.export.formats.sequence import fewer
from dream3d.export.health import health
from dream3d.export.moments import moving
from dream3d.export.place import Placement, box, placement
from dream3d.export.report import write_report
from dream3d.export.roomy import roomy
from dream3d.export.stock import MESHES, Item, Stock
from dream3d.export.surface import NoSurface
from dream3d.export.video import contact_sheet, thumbnail, turntable
from dream3d.export.viewer import write_viewer
from dream3d.interfaces import Representation
from dream3d.options import Export
from dream3d.types import Mesh

KEYS = {("glb", "mesh"): "mesh", ("ply", "splats"): "splats"}  # what pages know them by; others by their format's name
HEALTH = "mesh.json"


@dataclass(frozen=True)
class Part:
    """One file to be made: what `made` calls it, its name, and what writes it."""

    key: str
    name: str
    write: Callable[[Path], None]


def export(
    scene: Representation,
    folder: Path,
    settings: Export = Export(),
    *,
    extras: dict,
    progress: Callable[[str, float], None] | None = None,
    tell: Callable[[str], None] | None = None,
    keep: bool = False,
    pictures: bool = True,
    own: Mesh | None = None,
    back: Placement = Placement(),
) -> dict[str, Path]:
    """Writes the asset into `folder` and returns the files by kind: thumbnail, contact and turntable (`pictures`), mesh (the glb) with
    health (what the mesh is fit for), splats (the ply of Gaussians), LOD0 and so on, others by the name of their format. `extras` describe
    it inside the files (prompt, seed, recipe); lighting and what was moved are added. `progress` hears the file's name and the share
    done before it, `tell` what was done to the mesh. With `keep`, files that are there are not made again. `own` is the mesh of a file,
    which stays as it is where settings do not say otherwise; `back` takes the scene to where it came from. Raises Mistake for a format that
    has no place for the scene, or a folder that cannot be written, before any work; for a scene with nothing in it, for a full disk and too
    little memory: files finished before stay. Gaussians without a surface leave the mesh out, with a warning, where no format was named."""
    folder, stock = Path(folder), Stock(scene, settings, own)
    making = _Making(stock, settings, extras, back, _wanted(stock, settings))
    steps, left_out = [*making.steps(pictures)], set()
    files.check_folder(folder, [part.name for part in steps])
    for number, part in enumerate(steps):
        share = number / len(steps)
        if progress is not None:
            progress(part.name, share)
            stock.tell = lambda what, more, at=share, name=part.name: progress(f"{name}: {what}", at + more / len(steps))
        if not (keep and (folder / part.name).is_file()):
            try:
                with roomy(settings, part.name):
                    part.write(folder / part.name)
            except NoSurface as mistake:
                if not making.spare:
                    raise
                warnings.warn(f"no {part.name}: {mistake.problem}", stacklevel=2)  # nobody asked for it, and the Gaussians are there
                left_out.add(part)
    for line in stock.said if tell is not None else ():
        tell(line)
    made = {part.key: folder / part.name for part in steps if part not in left_out}
    return made | ({"health": folder / HEALTH} if making.looked_at else {})


def _wanted(stock: Stock, settings: Export) -> list[tuple[Format, str]]:
    """The formats to be written, each with the kind that it takes. Raises Mistake for one that takes none, or cannot be made here."""
    wanted = asked(settings, stock.kinds)
    for form in wanted:
        form.check()
    return [(form, stock.fitting(form)) for form in wanted]


class _Making:
    """The files of one export, in order: pictures, Gaussians, meshes, levels of detail."""

    def __init__(self, stock: Stock, settings: Export, extras: dict, back: Placement, wanted: list[tuple[Format, str]]):
        self.stock, self.settings, self.extras, self.back, self.wanted = stock, settings, extras, back, wanted
        self.looked_at = False
        self._place: Placement | None = None

    def steps(self, pictures: bool) -> Iterator[Part]:
        scene, size, frames = self.stock.scene, self.settings.size, self.settings.frames
        if pictures:
            yield Part("thumbnail", "thumbnail.png", lambda path: thumbnail(scene, path, size))
            yield Part("contact", "contact.png", lambda path: contact_sheet(scene, path, size=size))
        meshes = [(form, kind) for form, kind in self.wanted if kind in MESHES]
        others = sorted((pair for pair in self.wanted if pair not in meshes), key=lambda pair: pair[0].name == "sequence")
        yield from (self._file(*pair) for pair in others)  # moments after the splats: pages tell by that whether they are of them
        if pictures:
            yield Part("turntable", "turntable.mp4", lambda path: turntable(scene, path, frames=frames, size=size))
        yield from (self._file(*pair) for pair in meshes)
        for form, kind in meshes:
            for level in range(self.settings.lods if form.name == "glb" else 0):
                name = Path(form.files[kind])
                yield Part(f"LOD{level}", f"{name.stem}_LOD{level}{name.suffix}", partial(self._write, form, kind, level))

    def _file(self, form: Format, kind: str) -> Part:
        chain = "mesh" if kind in MESHES else "splats"
        return Part(KEYS.get((form.name, chain), form.name), form.files[kind], partial(self._write, form, kind, 0))

    def _write(self, form: Format, kind: str, level: int, path: Path) -> None:
        stock, mesh = self.stock, kind in MESHES
        item = stock.item(kind) if level == 0 else stock.mesh(level) if kind == "mesh" else stock.moving(kind, level)
        place = self.place
        up = self.settings.up or form.up
        facts = {"lighting": stock.lighting(item)} | self.extras | {"transform": place.json() | {"up": up}}
        facts |= {"cleaned": stock.said} if mesh and stock.said else {}
        ask = Ask(facts, self.settings.up, self.settings.millimetres, self.settings.web)
        placed = place(fewer(item) if form.name == "sequence" and self.settings.formats is None else item)
        form.write(placed, path, ask)
        if mesh and level == 0 and not self.looked_at:
            found = health(placed if kind == "mesh" else placed.mesh)
            files.write_json(path.parent / HEALTH, dataclasses.replace(found, files=self._meshes()).json())
            self.looked_at = True

    def _meshes(self) -> tuple[str, ...]:
        """The files that hold the mesh: what an earlier export of another one has left is not among them."""
        return tuple(form.files[kind] for form, kind in self.wanted if kind in MESHES)

    @property
    def place(self) -> Placement:
        """One for all files: by the box of the mesh where one is written, else of the Gaussians."""
        if self._place is None:
            s, place = self.settings, self.back
            if s.metres is not None or s.origin != "center":
                place = placement(box(self.back(self._measured())), s.metres, s.origin).after(self.back)
            self._place = place
        return self._place

    def _measured(self) -> Item:
        kinds = [kind for _, kind in self.wanted]
        kind = next((kind for kind in MESHES if kind in kinds), kinds[0])
        try:
            return self.stock.item(kind)
        except NoSurface:
            if not self.spare:
                raise
            return self.stock.handed

    @property
    def spare(self) -> bool:
        """Whether a mesh can be done without: nobody asked for one, and the Gaussians are there."""
        return self.settings.formats is None and not self.settings.lods and self.stock.gaussian


def pages(
    run: Path, made: dict[str, Path], prompt: str | list[str], *, status: dict[str, Any] | None = None
) -> dict[str, Path]:
    """viewer.html and report.html of a run folder whose files `export` has `made`, by kind. `status` as in write_report."""
    title = prompt if isinstance(prompt, str) else " / ".join(prompt)
    target = Path(run) / "export" / "viewer.html"
    splats, clip = made.get("splats"), made.get("sequence")
    viewer = write_viewer(target, splats=splats, mesh=made.get("mesh"), title=title, moving=moving(clip, splats))
    return {"viewer": viewer, "report": write_report(run, status=status)}
