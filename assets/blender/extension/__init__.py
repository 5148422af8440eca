# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings finished runs into Blender: imports the newest, or one of them, and adds a folder of .blend files to the asset browser."""

from pathlib import Path

import bpy

from . import runs

SHOWN = 50  # runs in the list
_items: list[tuple[str, str, str]] = []  # Blender keeps no reference to the strings of a list that is made for it


def _listed(self, context) -> list[tuple[str, str, str]]:
    found = runs.finished(_folder(context))[:SHOWN]
    _items[:] = [(str(path), path.name, str(path)) for path in found] or [("", "no finished run", "")]
    return _items


def _folder(context) -> str:
    return bpy.path.abspath(context.preferences.addons[__package__].preferences.runs)


def _imported(operator, folder: Path) -> set[str]:
    done = bpy.ops.import_scene.gltf(filepath=str(folder / "export" / "mesh.glb"))
    if "FINISHED" in done:
        for thing in bpy.context.selected_objects:
            thing.name = folder.name if thing.parent is None else thing.name
        operator.report({"INFO"}, f"Imported {folder.name}")
    return done


class DREAM3D_Preferences(bpy.types.AddonPreferences):
    bl_idname = __package__

    runs: bpy.props.StringProperty(name="Runs", description="The folder that runs are written to", subtype="DIR_PATH")

    def draw(self, context):
        self.layout.prop(self, "runs")


class DREAM3D_OT_import_latest(bpy.types.Operator):
    bl_idname = "dream3d.import_latest"
    bl_label = "Import Latest Run"
    bl_description = "Import the mesh of the run that was finished last"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        found = runs.finished(_folder(context))
        if not found:
            self.report({"ERROR"}, "There is no finished run: set the folder of runs in the extension's preferences")
            return {"CANCELLED"}
        return _imported(self, found[0])


class DREAM3D_OT_import_run(bpy.types.Operator):
    bl_idname = "dream3d.import_run"
    bl_label = "Import Run"
    bl_description = "Import the mesh of one of the finished runs"
    bl_options = {"REGISTER", "UNDO"}
    bl_property = "run"

    run: bpy.props.EnumProperty(name="Run", items=_listed)

    def invoke(self, context, event):
        context.window_manager.invoke_search_popup(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        if not self.run:
            self.report({"ERROR"}, "There is no finished run")
            return {"CANCELLED"}
        return _imported(self, Path(self.run))


class DREAM3D_OT_add_library(bpy.types.Operator):
    bl_idname = "dream3d.add_library"
    bl_label = "Add Asset Library"
    bl_description = "Add a folder of .blend assets, as `blender library` makes it, to the asset browser"

    directory: bpy.props.StringProperty(name="Folder", subtype="DIR_PATH")

    def invoke(self, context, event):
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        folder = Path(bpy.path.abspath(self.directory)).resolve()
        if not self.directory or not folder.is_dir():
            self.report({"ERROR"}, "That is no folder")
            return {"CANCELLED"}
        known = context.preferences.filepaths.asset_libraries
        if any(Path(bpy.path.abspath(one.path)).resolve() == folder for one in known):
            self.report({"INFO"}, "This library is known already")
            return {"FINISHED"}
        known.new(name=folder.name, directory=str(folder))
        return {"FINISHED"}


class DREAM3D_PT_panel(bpy.types.Panel):
    bl_label = "dream3d"
    bl_idname = "DREAM3D_PT_panel"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "dream3d"

    def draw(self, context):
        self.layout.prop(context.preferences.addons[__package__].preferences, "runs")
        for operator in (DREAM3D_OT_import_latest, DREAM3D_OT_import_run, DREAM3D_OT_add_library):
            self.layout.operator(operator.bl_idname)


CLASSES = (DREAM3D_Preferences, DREAM3D_OT_import_latest, DREAM3D_OT_import_run, DREAM3D_OT_add_library, DREAM3D_PT_panel)


def register():
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister():
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
