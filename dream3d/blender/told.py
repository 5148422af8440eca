"""What Blender found in a file, in words; and what an artist would complain of."""

from typing import Any

SPACES = {"Base Color": "sRGB", "Color": "sRGB", "Roughness": "Non-Color", "Metallic": "Non-Color", "Normal": "Non-Color"}  # of inputs
STRAIGHT, SAME = 1e-4, 1e-3  # how far a turn (quaternion) and a scale may be off


def lines(answer: dict[str, Any]) -> list[str]:
    """The answer of the task `check`, for people."""
    low, high = answer["box"] or ([0, 0, 0], [0, 0, 0])
    said = [f"Blender {answer['blender']}", f"size {' x '.join(f'{b - a:.3f}' for a, b in zip(low, high, strict=True))} m, "
            f"from {low[2]:.3f} to {high[2]:.3f} m high"]  # fmt: skip
    said += [_object(thing) for thing in answer["objects"]]
    said += [_material(material) for material in answer["materials"]]
    if answer["actions"] or answer["moved"] != 0:
        seconds, far = answer["moments"][-1]["seconds"], answer["moved"]
        said.append(f"moves for {seconds:.2f} s, at most {far:.3f} m" if far is not None else f"changes for {seconds:.2f} s")
    return said


def complaints(answer: dict[str, Any]) -> list[str]:
    """Pictures that are missing or in the wrong colour space, objects that are turned or scaled, surfaces without uv."""
    wrong = []
    for thing in answer["objects"]:
        if abs(abs(thing["turn"][0]) - 1) > STRAIGHT and thing["kind"] == "MESH":
            wrong.append(f"{thing['name']} is turned: its rotation is not applied")
        if any(abs(scale - 1) > SAME for scale in thing["scale"]):
            wrong.append(f"{thing['name']} is scaled: {thing['scale']}")
        if thing["kind"] == "MESH" and not thing["uvs"] and any(material["images"] for material in answer["materials"]):
            wrong.append(f"{thing['name']} has pictures but no uv")
    for material in answer["materials"]:
        for image in material["images"]:
            if not all(image["size"]):
                wrong.append(f"{material['name']}: the picture {image['name']} is missing")
            wrong += [f"{material['name']}: {image['name']} is {image['space']}, but {end} wants {SPACES[end]}"
                      for end in image["to"] if end in SPACES and image["space"] != SPACES[end]]  # fmt: skip
    return wrong


def _object(thing: dict[str, Any]) -> str:
    if thing["kind"] != "MESH":
        return f"{thing['name']} ({thing['kind'].lower()})" + (f": {len(thing['bones'])} bones" if "bones" in thing else "")
    counts = {"uv": len(thing["uvs"]), "colours": len(thing["colours"]), "shapes": len(thing["shapes"]), "groups": thing["groups"]}
    more = "".join(f", {name} {count}" for name, count in counts.items() if count)
    return f"{thing['name']}: {thing['faces']} faces, {thing['vertices']} vertices{more}"


def _material(material: dict[str, Any]) -> str:
    images = [f"{' and '.join(image['to']) or 'nothing'} from {image['name']} ({image['space']}, {image['size'][0]} x {image['size'][1]})"
              for image in material["images"]]  # fmt: skip
    return f"material {material['name']}: {'; '.join(images) or 'no pictures'}"
