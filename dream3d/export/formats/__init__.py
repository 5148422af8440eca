"""File formats. A file is a name: `formats/glb.py` is `--format glb` (`khr_glb.py` is `khr-glb`). Literals are read without importing it:

    FILES = {"mesh": "mesh.glb"}   # what it takes (KINDS), and the name of the file
    UP = "y"                       # the axis that points up for those who read it; "-y": y points down, as in photographs
    EXTRA = ""                     # what has to be installed for it: pip install dream3d[EXTRA]
    NEEDS = "pxr"                  # the module that EXTRA brings, looked for before any work; left out: none; one of ours has `check()`
    NAME = "3mf"                   # where it is not the file's: _ becomes -, and a module cannot be called 3mf

and `write(item, path, ask)`, which puts the item, in world axes (z up, metres), into `path` and what has to lie beside it.
"""

import ast
import importlib.util
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from dream3d.errors import Mistake, choices

KINDS = ("mesh", "splats", "mesh-clip", "splat-clip", "skin")  # Mesh, Points with scales, and what dream3d.clips has
# What else formats are called
MEANT = {"gltf": "glb", "alembic": "abc", "blender": "blend", "usda": "usd", "usdc": "usd", "splats": "ply", "gaussians": "ply",
         "3dgs": "ply", "gsplat": "ply", "frames": "sequence", "mtl": "obj", "mesh": "glb"}  # fmt: skip
SAID = ("FILES", "UP", "EXTRA", "NEEDS", "NAME")


@dataclass(frozen=True)
class Ask:
    """How files are to be written. facts: JSON values about the asset (prompt, seed, recipe, models with licences, version, lighting);
    up: the axis that points up in the file (None: the format's own); millimetres: the longest side in files for printing; web:
    small rather than read by everybody."""

    facts: dict[str, Any] = field(default_factory=dict)
    up: Literal["y", "z"] | None = None
    millimetres: float | None = None
    web: bool = False


@dataclass(frozen=True)
class Format:
    """What a file of this folder says of itself."""

    name: str
    module: str
    about: str
    files: dict[str, str]
    up: Literal["y", "z", "-y"]
    extra: str
    needs: str = ""

    def check(self) -> None:
        """Raises Mistake where what it needs is not installed, without importing it. A module of ours looks for it in its own way."""
        if self.needs.startswith("dream3d."):
            importlib.import_module(self.needs).check()
        elif self.needs and importlib.util.find_spec(self.needs) is None:
            raise self._missing(self.needs)

    def write(self, item: Any, path: Path, ask: Ask) -> None:
        """Raises Mistake where what it needs is not installed, and what the format itself raises."""
        try:
            module = importlib.import_module(f"{__name__}.{self.module}")
            module.write(item, Path(path), ask)
        except ModuleNotFoundError as error:
            if not self.extra or (error.name or "").startswith("dream3d"):
                raise
            raise self._missing(error.name) from None

    def _missing(self, package: str | None) -> Mistake:
        return Mistake(f"{self.name} needs {package}", where="--format", fix=f'pip install "dream3d[{self.extra}]"')


@cache
def formats() -> dict[str, Format]:
    """All there are, by name."""
    found = (path for path in sorted(Path(__file__).parent.glob("*.py")) if not path.stem.startswith("_"))
    return {form.name: form for form in sorted(map(_read, found), key=lambda form: form.name)}


def named(name: str) -> Format:
    """Raises Mistake where there is none of that name."""
    if name not in formats():
        near = MEANT.get(name) or choices(name, formats())
        raise Mistake(f"there is no format {name!r}", where="--format", near=near, fix=f"--format {MEANT.get(name, 'glb')}")
    return formats()[name]


def _read(path: Path) -> Format:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    told = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in SAID}  # fmt: skip
    about = (ast.get_docstring(tree) or "").splitlines()[0]
    name = told.get("NAME", path.stem.replace("_", "-"))
    return Format(name, path.stem, about, told["FILES"], told["UP"], told.get("EXTRA", ""), told.get("NEEDS", ""))
