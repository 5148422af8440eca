# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be seen and measured of the scene."""

import math

import bpy
import numpy as np
import scene
from mathutils import Vector

SIDES = {"-y": (0, -1, 0), "+x": (1, 0, 0), "+y": (0, 1, 0), "-x": (-1, 0, 0), "+z": (0, 0, 1), "-z": (0, 0, -1)}
MOST = 64  # objects, materials that are told


def report(moments: int) -> dict:
    """Everything about the scene, as JSON values; lengths in metres, colours as display sRGB."""
    things, meshes = list(bpy.context.scene.objects), scene.meshes()
    frames = _frames(moments)
    rate = bpy.context.scene.render.fps / bpy.context.scene.render.fps_base
    boxes, first, moved = [], None, 0.0
    for frame in frames:
        bpy.context.scene.frame_set(int(frame), subframe=frame % 1)
        places = _places(meshes)
        boxes.append([places.min(0).tolist(), places.max(0).tolist()] if len(places) else None)
        first = places if first is None else first
        moved = max(moved, float(np.linalg.norm(places - first, axis=1).max(initial=0)) if len(places) == len(first) else math.inf)
    bpy.context.scene.frame_set(int(frames[0]))
    return {
        "blender": bpy.app.version_string,
        "objects": [_object(thing) for thing in things[:MOST]],
        "materials": [_material(material) for material in list(bpy.data.materials)[:MOST]],
        "actions": [{"name": action.name, "frames": list(action.frame_range)} for action in list(bpy.data.actions)[:MOST]],
        "box": boxes[0],
        "moments": [{"seconds": (frame - frames[0]) / rate, "box": at} for frame, at in zip(frames, boxes, strict=True)],
        "moved": moved if math.isfinite(moved) else None,
        "sides": _sides(meshes),
        "unit": bpy.context.scene.unit_settings.scale_length,
    }


def _object(thing) -> dict:
    told = {"name": thing.name, "kind": thing.type, "location": list(thing.location), "scale": list(thing.scale),
            "turn": list(thing.matrix_world.to_quaternion()), "facts": sorted(map(str, thing.keys()))}  # fmt: skip
    if thing.asset_data is not None:
        data = thing.asset_data
        told["asset"] = {"catalog": data.catalog_id, "author": data.author, "license": data.license, "description": data.description,
                         "tags": [tag.name for tag in data.tags],
                         "preview": list(thing.preview.image_size) if thing.preview else None}  # fmt: skip
    if thing.type == "MESH":
        keys = thing.data.shape_keys
        told |= {"vertices": len(thing.data.vertices), "faces": len(thing.data.polygons), "uvs": [uv.name for uv in thing.data.uv_layers],
                 "colours": [colour.name for colour in thing.data.color_attributes],
                 "shapes": [block.name for block in keys.key_blocks] if keys else [],
                 "groups": len(thing.vertex_groups)}  # fmt: skip
    if thing.type == "ARMATURE":
        told["bones"] = [bone.name for bone in thing.data.bones]
    return told


def _material(material) -> dict:
    nodes = material.node_tree.nodes if material.use_nodes and material.node_tree else []
    images = [{"name": node.image.name, "space": node.image.colorspace_settings.name, "size": list(node.image.size),
               "packed": node.image.packed_file is not None, "to": sorted(_ends(node))}
              for node in nodes if node.type == "TEX_IMAGE" and node.image]  # fmt: skip
    return {"name": material.name, "shaders": sorted(node.type for node in nodes if "BSDF" in node.type or node.type == "EMISSION"),
            "images": images}  # fmt: skip


def _ends(node, depth: int = 0) -> set[str]:
    """What a picture decides: names of the shader's inputs."""
    found = set()
    for output in node.outputs:
        for link in output.links:
            end = link.to_node
            if "BSDF" in end.type or end.type == "EMISSION":
                found.add(link.to_socket.name)
            elif depth < 8 and end.type != "OUTPUT_MATERIAL":
                found |= _ends(end, depth + 1)
    return found


def _frames(moments: int) -> list[float]:
    """Frames from the first of all actions to the last; of vertices that are read while it plays, those of the scene."""
    here = bpy.context.scene
    ranges = [action.frame_range for action in bpy.data.actions] + [(here.frame_start, here.frame_end)] * len(bpy.data.cache_files)
    if not ranges:
        return [float(here.frame_current)]
    return np.linspace(min(r[0] for r in ranges), max(r[1] for r in ranges), max(2, moments)).tolist()


def _places(meshes: list) -> np.ndarray:
    """All vertices where the world has them now."""
    graph, found = bpy.context.evaluated_depsgraph_get(), [np.zeros((0, 3))]
    for thing in meshes:
        shown = thing.evaluated_get(graph)
        mesh = shown.to_mesh()
        flat = np.empty(3 * len(mesh.vertices), np.float32)
        mesh.vertices.foreach_get("co", flat)
        turn = np.array(shown.matrix_world)
        found.append(flat.reshape(-1, 3) @ turn[:3, :3].T + turn[:3, 3])
        shown.to_mesh_clear()
    return np.concatenate(found)


def box(meshes: list) -> list:
    places = _places(meshes)
    return [places.min(0).tolist(), places.max(0).tolist()]


def _sides(meshes: list) -> dict:
    """The mean colour of the faces that look to each side (within 30 degrees of it), by area."""
    total = {name: np.zeros(4) for name in SIDES}
    for thing in meshes:
        mesh, turn = thing.data, np.array(thing.matrix_world.to_3x3())
        count = len(mesh.polygons)
        normal, area, start, slot = np.empty(3 * count, np.float32), np.empty(count, np.float32), np.empty(count, int), np.empty(count, int)
        for key, into in (("normal", normal), ("area", area), ("loop_start", start), ("material_index", slot)):
            mesh.polygons.foreach_get(key, into)
        normal = normal.reshape(-1, 3) @ turn.T
        normal /= np.linalg.norm(normal, axis=1, keepdims=True).clip(1e-20)
        colour = _colour(thing, start, slot)
        if colour is None:
            continue
        for name, direction in SIDES.items():
            near = normal @ np.array(direction) > math.cos(math.radians(30))
            total[name] += (np.concatenate([colour, np.ones((count, 1))], 1)[near] * area[near, None]).sum(0)
    return {name: (told[:3] / told[3]).tolist() for name, told in total.items() if told[3] > 0}


def _colour(thing, start: np.ndarray, slot: np.ndarray) -> np.ndarray | None:
    """A colour for every face: what its picture shows at the mean of its uvs, else its vertices' colour."""
    mesh = thing.data
    nodes = [scene.picture_of(held.material) for held in thing.material_slots]
    if mesh.uv_layers.active and nodes and nodes[0] is not None:
        uv = np.empty(2 * len(mesh.loops), np.float32)
        mesh.uv_layers.active.data.foreach_get("uv", uv)
        ends = np.append(start[1:], len(mesh.loops))
        middle = np.add.reduceat(uv.reshape(-1, 2), start) / (ends - start)[:, None]
        width, height = nodes[0].image.size
        pixels = np.empty(4 * width * height, np.float32)
        nodes[0].image.pixels.foreach_get(pixels)
        x, y = (np.clip((middle[:, i] * n).astype(int), 0, n - 1) for i, n in ((0, width), (1, height)))
        return pixels.reshape(height, width, 4)[y, x, :3].astype(float)
    layer = mesh.color_attributes.active_color
    if layer is None:
        return None
    values = np.empty(4 * len(layer.data), np.float32)
    layer.data.foreach_get("color_srgb", values)
    corner = np.empty(len(mesh.loops), int)
    mesh.loops.foreach_get("vertex_index", corner)
    index = corner[start] if layer.domain == "POINT" else start
    return values.reshape(-1, 4)[index, :3].astype(float)


def draw(picture: str, size: int, samples: int, azimuth: float, elevation: float) -> None:
    """The scene, by Cycles on the CPU, over nothing, from so far away that all of it is seen."""
    low, high = (np.array(end) for end in box(scene.meshes()))
    centre, radius = (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 1e-6)
    lens = math.radians(40)
    a, e = math.radians(azimuth), math.radians(elevation)
    away = Vector((math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)))
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.angle, camera.data.clip_start, camera.data.clip_end = lens, radius / 100, radius * 100
    camera.location = Vector(centre) + away * (radius / math.sin(lens / 2))
    camera.rotation_euler = (-away).to_track_quat("-Z", "Y").to_euler()
    lamp = bpy.data.objects.new("lamp", bpy.data.lights.new("lamp", "SUN"))
    lamp.data.energy, lamp.rotation_euler = 2.0, (math.radians(40), 0, math.radians(20) + a)
    here = bpy.context.scene
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.6, 0.6, 0.6, 1)
    before, here.world, here.camera = here.world, world, camera
    for thing in (camera, lamp):
        here.collection.objects.link(thing)
    _settings(here, picture, size, samples)
    bpy.ops.render.render(write_still=True)
    here.world, here.camera = before, None
    for thing in (camera, lamp):
        bpy.data.objects.remove(thing)
    bpy.data.worlds.remove(world)


def _settings(here, picture: str, size: int, samples: int) -> None:
    here.render.engine = "CYCLES"
    here.cycles.device, here.cycles.samples, here.cycles.seed, here.cycles.use_denoising = "CPU", samples, 0, False
    here.render.resolution_x = here.render.resolution_y = size
    here.render.resolution_percentage, here.render.film_transparent = 100, True
    here.render.image_settings.file_format, here.render.image_settings.color_mode = "PNG", "RGBA"
    here.view_settings.view_transform = "Standard"
    here.render.filepath = picture
