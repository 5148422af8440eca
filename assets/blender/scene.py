# SPDX-License-Identifier: GPL-3.0-or-later
"""Files into Blender's scene, and the scene into the shape a task wants."""

import math
from pathlib import Path

import bmesh
import bpy
import numpy as np

Y_UP, Z_UP = {"forward_axis": "NEGATIVE_Z", "up_axis": "Y"}, {"forward_axis": "Y", "up_axis": "Z"}
READERS = {
    ".glb": lambda path: _gltf(path),
    ".gltf": lambda path: _gltf(path),
    ".fbx": lambda path: bpy.ops.import_scene.fbx(filepath=path),
    ".obj": lambda path: bpy.ops.wm.obj_import(filepath=path, **Y_UP),
    ".ply": lambda path: bpy.ops.wm.ply_import(filepath=path, **Z_UP),
    ".stl": lambda path: bpy.ops.wm.stl_import(filepath=path, **Z_UP),
    ".abc": lambda path: bpy.ops.wm.alembic_import(filepath=path, as_background_job=False),
    ".usdz": lambda path: bpy.ops.wm.usd_import(filepath=path),
    ".usdc": lambda path: bpy.ops.wm.usd_import(filepath=path),
    ".usda": lambda path: bpy.ops.wm.usd_import(filepath=path),
    ".usd": lambda path: bpy.ops.wm.usd_import(filepath=path),
}


def _gltf(path: str) -> set[str]:
    """Without the ball that stands for a bone: it would be one more mesh."""
    known = bpy.ops.import_scene.gltf.get_rna_type().properties
    return bpy.ops.import_scene.gltf(filepath=path, **({"disable_bone_shape": True} if "disable_bone_shape" in known else {}))


def load(file: str) -> None:
    """Nothing but what the file holds. No script in it is run."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.filepaths.use_scripts_auto_execute = False
    suffix = Path(file).suffix.lower()
    if suffix == ".blend":
        return _assets(file)
    if suffix not in READERS:
        raise ValueError(f"{suffix} is no kind of file that is imported")
    if "FINISHED" not in READERS[suffix](file):
        raise RuntimeError("Blender could not import the file")
    if not bpy.data.objects:
        raise RuntimeError("Blender found no object in the file")


def _assets(file: str) -> None:
    """What a .blend offers as assets."""
    with bpy.data.libraries.load(file, assets_only=True) as (there, here):
        here.objects, here.collections = list(there.objects), list(there.collections)
    for thing in here.collections:
        bpy.context.scene.collection.children.link(thing)
    for thing in here.objects:
        bpy.context.scene.collection.objects.link(thing)
    if not here.objects and not here.collections:
        raise RuntimeError("there is no asset in the file")


def ranged() -> None:
    """The scene lasts as long as what moves in it."""
    ranges = [action.frame_range for action in bpy.data.actions]
    if ranges:
        here = bpy.context.scene
        here.frame_start, here.frame_end = math.floor(min(r[0] for r in ranges)), math.ceil(max(r[1] for r in ranges))
        here.frame_set(here.frame_start)


def meshes() -> list:
    return [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]


def only(thing) -> None:
    """Select one object, and make it the active one."""
    for other in bpy.context.scene.objects:
        other.select_set(other == thing)
    bpy.context.view_layer.objects.active = thing


def picture_of(material):
    """The image that is the material's colour, and the node that has it; None where there is none."""
    nodes = material.node_tree.nodes if material and material.use_nodes and material.node_tree else []
    for node in nodes:
        socket = node.inputs.get("Base Color") or (node.inputs.get("Color") if node.type == "EMISSION" else None)
        while socket is not None and socket.links:
            source = socket.links[0].from_node
            if source.type == "TEX_IMAGE":
                return source
            socket = source.inputs.get("Color") or source.inputs.get("Color1") or source.inputs.get("A")
    return None


def plain() -> None:
    """Materials as FBX can say them: it knows no light that is baked, so that unlit becomes rough, in the same colour; and no channels of
    pictures, so that roughness and metallic become pictures of their own."""
    for material in bpy.data.materials:
        nodes = material.node_tree.nodes if material.use_nodes and material.node_tree else []
        lit = next((node for node in nodes if node.type == "BSDF_PRINCIPLED"), None)
        if lit is not None:
            for channel, name in ((1, "Roughness"), (2, "Metallic")):
                _parted(material, lit.inputs[name], channel)
        if lit is not None or not nodes:
            continue
        image, glow = picture_of(material), next((node for node in nodes if node.type == "EMISSION"), None)
        output = next(node for node in nodes if node.type == "OUTPUT_MATERIAL")
        shader = nodes.new("ShaderNodeBsdfPrincipled")
        shader.inputs["Roughness"].default_value = 1.0
        if image is not None:
            material.node_tree.links.new(image.outputs["Color"], shader.inputs["Base Color"])
        elif glow is not None:
            shader.inputs["Base Color"].default_value = glow.inputs["Color"].default_value
        material.node_tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])


def _parted(material, socket, channel: int) -> None:
    """A socket that one channel of a picture feeds is fed by a grey picture instead."""
    parts = socket.links[0].from_node if socket.links else None
    if parts is None or parts.type != "SEPARATE_COLOR" or not parts.inputs[0].links:
        return
    source = parts.inputs[0].links[0].from_node
    if source.type != "TEX_IMAGE" or source.image is None:
        return
    width, height = source.image.size
    pixels = np.empty(4 * width * height, np.float32)
    source.image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(-1, 4)
    pixels[:, :3] = pixels[:, channel, None]
    grey = bpy.data.images.new(socket.name.lower(), width, height, is_data=True)
    grey.pixels.foreach_set(pixels.ravel())
    grey.filepath_raw, grey.file_format = f"//{grey.name}.png", "PNG"
    grey.pack()
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = grey
    material.node_tree.links.new(node.outputs["Color"], socket)


def asset(name: str):
    """What is marked: the object where there is one, else a collection of all of them."""
    things = list(bpy.context.scene.objects)
    if len(things) == 1:
        things[0].name = name
        return things[0]
    home = bpy.data.collections.new(name)
    bpy.context.scene.collection.children.link(home)
    for thing in things:
        for other in list(thing.users_collection):
            other.objects.unlink(thing)
        home.objects.link(thing)
    return home


def welded():
    """All meshes as one, where charts met too: equal places are one vertex."""
    things = meshes()
    if not things:
        raise RuntimeError("there is no mesh in the file")
    graph = bpy.context.evaluated_depsgraph_get()
    whole = bmesh.new()
    for thing in things:
        shown = thing.evaluated_get(graph)
        part = shown.to_mesh()
        part.transform(shown.matrix_world)
        whole.from_mesh(part)
        shown.to_mesh_clear()
    size = max(max(v.co[i] for v in whole.verts) - min(v.co[i] for v in whole.verts) for i in range(3))
    bmesh.ops.remove_doubles(whole, verts=whole.verts, dist=1e-6 * size)
    bmesh.ops.dissolve_degenerate(whole, edges=whole.edges, dist=1e-7 * size)
    data = bpy.data.meshes.new("welded")
    whole.to_mesh(data)
    whole.free()
    result = bpy.data.objects.new("welded", data)
    bpy.context.scene.collection.objects.link(result)
    only(result)
    return result


def nowhere() -> None:
    """Forget where things lie on this machine: what was drawn, and the folders of file browsers, which begin at home. A long name first:
    what stood behind the end of a short one would be saved too."""
    spaces = [space for screen in bpy.data.screens for area in screen.areas for space in area.spaces if space.type == "FILE_BROWSER"]
    for name in ("/" * 1000, "//"):
        bpy.context.scene.render.filepath = name
        for params in (space.params for space in spaces if space.params is not None):
            params.directory = name.encode()
