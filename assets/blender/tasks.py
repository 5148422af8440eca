# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker can do: every function takes JSON values and answers JSON values. Paths are absolute."""

import os
import tempfile
from pathlib import Path

import bpy
import look
import scene

KNOWN = ("check", "thumbnail", "fbx", "abc", "blend", "quads")


def check(file: str, moments: int = 5) -> dict:
    """What is in a file once Blender has it: objects, materials, how far things move, colours of the six sides."""
    scene.load(file)
    return look.report(moments)


def thumbnail(file: str, picture: str, size: int = 256, samples: int = 8, azimuth: float = 30.0, elevation: float = 20.0) -> dict:
    """A picture from `azimuth` degrees to the right of the front and `elevation` above."""
    scene.load(file)
    look.draw(picture, size, samples, azimuth, elevation)
    return {"picture": picture}


def fbx(file: str, target: str, up: str = "y") -> dict:
    """The file as FBX, pictures inside."""
    scene.load(file)
    scene.plain()
    axes = {"y": {"axis_forward": "-Z", "axis_up": "Y"}, "z": {"axis_forward": "Y", "axis_up": "Z"}}[up]
    moves = bool(bpy.data.actions)
    kinds = {"MESH", "ARMATURE", "EMPTY"}
    scene.ranged()
    bpy.ops.export_scene.fbx(filepath=target, path_mode="COPY", embed_textures=True, object_types=kinds, bake_anim=moves,
                             bake_anim_use_nla_strips=False, bake_anim_use_all_actions=False, bake_anim_simplify_factor=0.0,
                             add_leaf_bones=False, use_custom_props=True, mesh_smooth_type="OFF", **axes)  # fmt: skip
    _nameless(Path(target))
    return {"objects": len(bpy.data.objects), "moves": moves}


def _nameless(path: Path) -> None:
    """Pictures inside an FBX have absolute names: those of this machine's folders become relative ones of the same length."""
    folder = os.fsencode(path.parent)
    path.write_bytes(path.read_bytes().replace(folder, b"." + b"/" * (len(folder) - 1)))


def abc(file: str, target: str) -> dict:
    """The meshes of a file as Alembic: y up, what moves at every frame."""
    scene.load(file)
    scene.ranged()
    for thing in bpy.context.scene.objects:
        thing.select_set(thing.type == "MESH")
    moves, here = bool(bpy.data.actions), bpy.context.scene
    first, last = (here.frame_start, here.frame_end) if moves else (here.frame_current, here.frame_current)
    done = bpy.ops.wm.alembic_export(filepath=target, start=first, end=last, uvs=True, normals=True, vcolors=True, face_sets=True,
                                     flatten=True, selected=True, packuv=False, export_hair=False, export_particles=False,
                                     as_background_job=False)  # fmt: skip
    if "FINISHED" not in done:
        raise RuntimeError("Blender could not write Alembic")
    return {"objects": len(scene.meshes()), "moves": moves}


def blend(file: str, target: str, name: str, catalog: str, about: dict, tags: list[str], picture: str | None = None) -> dict:
    """The file as an asset of Blender's asset browser: marked, with `about` (author, description, license, copyright), tags, and a preview
    (drawn where there is no picture)."""
    scene.load(file)
    scene.ranged()
    asset = scene.asset(name)
    asset.asset_mark()
    data = asset.asset_data
    data.catalog_id = catalog
    for key, text in about.items():
        setattr(data, key, text)
    for tag in tags:
        data.tags.new(tag, skip_if_exists=True)
    with tempfile.TemporaryDirectory() as folder:
        if picture is None:
            picture = str(Path(folder) / "preview.png")
            look.draw(picture, 256, 8, 30.0, 20.0)
        with bpy.context.temp_override(id=asset):
            bpy.ops.ed.lib_id_load_custom_preview(filepath=picture)
        size = list(asset.preview.image_size)  # which reads it
    bpy.ops.file.pack_all()
    scene.nowhere()
    bpy.context.preferences.filepaths.save_version = 0  # no .blend1
    bpy.ops.wm.save_as_mainfile(filepath=target, compress=True, check_existing=False)
    return {"asset": asset.name, "kind": asset.id_type, "preview": size}


def quads(file: str, target: str, faces: int, up: str = "y") -> dict:
    """The first frame's surface in about so many quads (QuadriFlow, Huang et al. 2018), as an OBJ without uvs."""
    scene.load(file)
    mesh = scene.welded()
    before = len(mesh.data.polygons)
    done = bpy.ops.object.quadriflow_remesh(target_faces=faces, seed=0, use_mesh_symmetry=False, use_preserve_sharp=False,
                                            use_preserve_boundary=False, smooth_normals=False)  # fmt: skip
    corners = [len(polygon.vertices) for polygon in mesh.data.polygons]
    if "FINISHED" not in done or corners.count(4) == 0:
        raise RuntimeError("QuadriFlow made nothing: it wants a closed surface whose faces all look outwards")
    axes = {"y": ("NEGATIVE_Z", "Y"), "z": ("Y", "Z")}[up]
    bpy.ops.wm.obj_export(filepath=target, export_materials=False, export_uv=False, export_normals=False, export_selected_objects=True,
                          forward_axis=axes[0], up_axis=axes[1])  # fmt: skip
    box = look.box([mesh])
    return {"before": before, "faces": len(corners), "quads": corners.count(4), "triangles": corners.count(3), "box": box}
