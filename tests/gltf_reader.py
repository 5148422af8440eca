"""A .glb as the specification of glTF 2.0 says, with json and numpy alone: where its vertices are at a time of its animation."""

import json
import struct
from pathlib import Path

import numpy as np
from numpy import ndarray

TYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    def __init__(self, path: Path):
        data = Path(path).read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
        self.json = json.loads(data[20 : 20 + size])
        self.binary = data[28 + size :]

    def array(self, number: int) -> ndarray:
        """3.6.2: an accessor, sparse or not."""
        entry = self.json["accessors"][number]
        count, width = entry["count"], WIDTH[entry["type"]]
        if "bufferView" in entry:
            rows = self._read(entry, entry["componentType"], count * width, entry.get("byteOffset", 0)).reshape(count, width)
        else:
            rows = np.zeros((count, width), TYPES[entry["componentType"]])
        if sparse := entry.get("sparse"):
            index = self._read(sparse["indices"], sparse["indices"]["componentType"], sparse["count"])
            rows = rows.copy()
            rows[index] = self._read(sparse["values"], entry["componentType"], sparse["count"] * width).reshape(-1, width)
        return rows[:, 0] if width == 1 else rows

    def _read(self, place: dict, component: int, count: int, offset: int = 0) -> ndarray:
        view = self.json["bufferViews"][place["bufferView"]]
        assert offset + count * np.dtype(TYPES[component]).itemsize <= view["byteLength"]
        return np.frombuffer(self.binary, TYPES[component], count, view.get("byteOffset", 0) + offset)

    # --- 3.11 and appendix C: what an animation says at a time ------------------------------------------------------

    def animated(self, time: float) -> dict[tuple[int, str], ndarray]:
        found = {}
        for animation in self.json.get("animations", []):
            for channel in animation["channels"]:
                sampler, target = animation["samplers"][channel["sampler"]], channel["target"]
                assert sampler["interpolation"] == "LINEAR"
                times, rows = self.array(sampler["input"]), self.array(sampler["output"])
                rows = rows.reshape(len(times), -1).astype(float)
                k = int(np.clip(np.searchsorted(times, time, "right") - 1, 0, max(len(times) - 2, 0)))
                if len(times) == 1:
                    found[target["node"], target["path"]] = rows[0]
                    continue
                share = float(np.clip((time - times[k]) / (times[k + 1] - times[k]), 0, 1))
                mix = slerp if target["path"] == "rotation" else lambda a, b, s: (1 - s) * a + s * b
                found[target["node"], target["path"]] = mix(rows[k], rows[k + 1], share)
        return found

    # --- 3.7: morph targets, then the skin --------------------------------------------------------------------------

    def vertices(self, time: float) -> ndarray:
        """Of the one mesh, in glTF's axes."""
        now = self.animated(time)
        (number,) = [i for i, node in enumerate(self.json["nodes"]) if "mesh" in node]
        node = self.json["nodes"][number]
        mesh = self.json["meshes"][node["mesh"]]
        (primitive,) = mesh["primitives"]
        place = self.array(primitive["attributes"]["POSITION"]).astype(float)
        weights = now.get((number, "weights"), mesh.get("weights", []))
        for weight, target in zip(weights, primitive.get("targets", []), strict=True):
            place = place + weight * self.array(target["POSITION"])
        return self._skinned(node, primitive, place, now) if "skin" in node else place

    def _skinned(self, node: dict, primitive: dict, place: ndarray, now: dict) -> ndarray:
        skin = self.json["skins"][node["skin"]]
        inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).swapaxes(1, 2)  # column by column
        matrices = np.stack([self._world(joint, now) for joint in skin["joints"]]) @ inverse
        joints, weights = (self.array(primitive["attributes"][name]) for name in ("JOINTS_0", "WEIGHTS_0"))
        blended = np.einsum("vk,vkij->vij", weights.astype(float), matrices[joints])
        return np.einsum("vij,vj->vi", blended, np.concatenate([place, np.ones((len(place), 1))], 1))[:, :3]

    def _world(self, number: int, now: dict) -> ndarray:
        node, matrix = self.json["nodes"][number], np.eye(4)
        matrix[:3, 3] = now.get((number, "translation"), node.get("translation", [0, 0, 0]))
        matrix[:3, :3] = rotation(np.asarray(now.get((number, "rotation"), node.get("rotation", [0, 0, 0, 1])), float))
        above = [i for i, other in enumerate(self.json["nodes"]) if number in other.get("children", [])]
        return self._world(above[0], now) @ matrix if above else matrix


def slerp(a: ndarray, b: ndarray, share: float) -> ndarray:
    dot = float(a @ b)
    angle, sign = np.arccos(min(abs(dot), 1.0)), 1 if dot >= 0 else -1
    if angle < 1e-6:
        return a
    return (np.sin((1 - share) * angle) * a + sign * np.sin(share * angle) * b) / np.sin(angle)


def rotation(q: ndarray) -> ndarray:
    """Of a unit quaternion xyzw."""
    x, y, z, w = q / np.linalg.norm(q)
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                     [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                     [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])  # fmt: skip
