"""Where Blender is. It is asked as another program; nothing here imports bpy, which is GPL and fits one version of Python only."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from dream3d.errors import Mistake

VARIABLE = "DREAM3D_BLENDER_PYTHON"
FIX = (f'pip install "dream3d[blender]", or blender (4.2 or newer) on the PATH, or {VARIABLE}=a Python that has bpy')


def command() -> list[str]:
    """The beginning of a command line that runs a script inside Blender; the script's path and "--" follow. In this order: what
    DREAM3D_BLENDER_PYTHON names, bpy beside this package, `blender` on the PATH. Raises Mistake where there is none."""
    if named := os.environ.get(VARIABLE):
        found = shutil.which(named)
        if found is None:
            raise Mistake(f"{VARIABLE} names no program: {named!r}", where="environment", fix=f"{VARIABLE}=/path/to/python")
        return _blender(found) if Path(found).name.lower().startswith("blender") else _python(found)
    if importlib.util.find_spec("bpy") is not None:
        return _python(sys.executable)
    if found := shutil.which("blender"):
        return _blender(found)
    raise Mistake("there is no Blender here", fix=FIX)


def check() -> None:
    """Raises Mistake where there is no Blender."""
    command()


def _python(program: str) -> list[str]:
    return [program, "-E", "-B"]


def _blender(program: str) -> list[str]:
    """Without the user's settings, add-ons and scripts in files; a script that fails ends it."""
    return [program, "--background", "--factory-startup", "--disable-autoexec", "--offline-mode", "--python-exit-code", "3", "--python"]
