# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside Blender: a file's colours without light, as cameras see it, by Cycles on the CPU. FILE REQUEST FOLDER

REQUEST has cameras (to_world; x right, y down, z forward), their angle of view, size and samples; the pictures are 0.png and so on."""

import json
import sys

import bpy
from mathutils import Matrix

file, request, folder = sys.argv[sys.argv.index("--") + 1 :]
with open(request, encoding="utf-8") as source:
    asked = json.load(source)
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=file)
for material in bpy.data.materials:  # whatever the shader, its colour shines
    tree = material.node_tree
    image = next(node for node in tree.nodes if node.type == "TEX_IMAGE" and node.image.colorspace_settings.name == "sRGB")
    glow, output = tree.nodes.new("ShaderNodeEmission"), next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
    tree.links.new(image.outputs["Color"], glow.inputs["Color"])
    tree.links.new(glow.outputs["Emission"], output.inputs["Surface"])
here = bpy.context.scene
here.render.engine = "CYCLES"
here.cycles.device, here.cycles.samples, here.cycles.seed, here.cycles.use_denoising = "CPU", asked["samples"], 0, False
here.cycles.max_bounces, here.cycles.pixel_filter_type = 0, "BOX"
here.render.resolution_x = here.render.resolution_y = asked["size"]
here.render.resolution_percentage, here.render.film_transparent = 100, True
here.render.image_settings.file_format, here.render.image_settings.color_mode = "PNG", "RGBA"
here.view_settings.view_transform, here.render.dither_intensity = "Standard", 0.0
eye = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
eye.data.angle = asked["angle"]
here.collection.objects.link(eye)
here.camera = eye
turned = Matrix.Diagonal((1.0, -1.0, -1.0, 1.0))  # Blender's y is up, its z backwards
for number, to_world in enumerate(asked["cameras"]):
    eye.matrix_world = Matrix(to_world) @ turned
    here.render.filepath = f"{folder}/{number}.png"
    bpy.ops.render.render(write_still=True)
