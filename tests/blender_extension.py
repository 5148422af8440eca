# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside Blender: installs the extension from its .zip, uses all it has, and writes what came of it. ZIP RUNS LIBRARY ANSWER"""

import json
import os
import sys

import bpy

archive, runs, library, answer = sys.argv[sys.argv.index("--") + 1 :]
bpy.ops.wm.read_factory_settings(use_empty=True)
told = {"installed": list(bpy.ops.extensions.package_install_files(filepath=archive, repo="user_default", enable_on_install=True))}
(name,) = (one.module for one in bpy.context.preferences.addons if "dream3d" in one.module)
settings = bpy.context.preferences.addons[name].preferences
settings.runs = runs
told["latest"] = list(bpy.ops.dream3d.import_latest())
told["objects"] = [thing.name for thing in bpy.data.objects]
told["one"] = list(bpy.ops.dream3d.import_run(run=os.path.join(runs, "sds", "older")))
told["then"] = [thing.name for thing in bpy.data.objects]
told["added"] = [list(bpy.ops.dream3d.add_library(directory=library)) for _ in range(2)]
told["libraries"] = [one.path for one in bpy.context.preferences.filepaths.asset_libraries if one.path.rstrip("/") == library.rstrip("/")]
settings.runs = library
try:
    told["none"] = list(bpy.ops.dream3d.import_latest())
except RuntimeError as error:
    told["none"] = str(error)
bpy.ops.preferences.addon_disable(module=name)
with open(answer, "w", encoding="utf-8") as out:
    json.dump(told, out)
