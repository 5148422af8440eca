"""The scene of a glTF file: its nodes' meshes, each primitive a piece, with what its material says."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from dream3d.foreign.files import broken
from dream3d.foreign.gltf_parts import Document
from dream3d.foreign.khr import EXTENSION, splats, together
from dream3d.foreign.pieces import BESIDE, NO_UV, Material, Piece, finite, to_display, within

POINTS, TRIANGLES, STRIP, FAN = 0, 4, 5, 6
CLAMP, MIRROR, REPEAT = 33071, 33648, 10497


def read_gltf(path: Path, said: list[str]) -> tuple[list[Piece], dict[str, ndarray]]:
    """The pieces of its scene in the axes of the file (y up), and its points as columns."""
    return _Scene(path, said).scene()


class _Scene(Document):
    def __init__(self, path: Path, said: list[str]):
        super().__init__(path, said)
        self.materials: dict[int, Material] = {}
        self.points: list[tuple[ndarray, ndarray]] = []
        self.splats: list[dict[str, ndarray]] = []

    def scene(self) -> tuple[list[Piece], dict[str, ndarray]]:
        nodes, scenes = self.entries(self.document, "nodes"), self.entries(self.document, "scenes")
        if scenes:
            roots = self.entries(self.named("scenes", self.document.get("scene", 0)), "nodes")
        else:
            known = [self.entries(node, "children") for node in nodes if isinstance(node, dict)]
            below = {child for children in known for child in children if isinstance(child, int)}
            roots = [i for i in range(len(nodes)) if i not in below]
        pieces, stack, seen = [], [(index, np.eye(4)) for index in reversed(roots)], set()
        while stack:
            index, above = stack.pop()
            node = self.named("nodes", index)
            if index in seen:
                raise broken(self.path, f"nodes[{index}] is there twice: nodes are a tree")
            seen.add(index)
            place = above @ self._placed(node)
            if not np.isfinite(place).all():
                raise self.wrong(f"the place of nodes[{index}]")
            if "mesh" in node:
                skinned = "skin" in node
                self._say("a skeleton is left out: it stands as it was bound") if skinned else None
                pieces += self._mesh(self.named("meshes", node["mesh"]), np.eye(4) if skinned else place)
            stack += [(child, place) for child in reversed(self.entries(node, "children"))]
        return pieces, self._columns()

    def _say(self, text: str) -> None:
        if text not in self.said:
            self.said.append(text)

    def _columns(self) -> dict[str, ndarray]:
        if self.splats:
            self._say("points beside Gaussians are left out") if self.points else None
            return together(self.splats)
        if not self.points:
            return {}
        place, rgb = (np.concatenate(parts) for parts in zip(*self.points, strict=True))
        return dict(zip(("x", "y", "z", "red", "green", "blue"), np.concatenate([place, rgb], 1).T, strict=True))

    def _placed(self, node: dict) -> Float[ndarray, "4 4"]:
        if "matrix" in node:
            return self.numbers(node, "matrix", [0] * 16).reshape(4, 4).T
        x, y, z, w = self.numbers(node, "rotation", [0, 0, 0, 1])
        turn = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                         [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                         [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])  # fmt: skip
        place = np.eye(4)
        place[:3, :3] = turn * self.numbers(node, "scale", [1, 1, 1])
        place[:3, 3] = self.numbers(node, "translation", [0, 0, 0])
        return place

    def _mesh(self, mesh: dict, place: Float[ndarray, "4 4"]):
        self.budget.take("pieces", len(self.entries(mesh, "primitives")))
        for primitive in self.entries(mesh, "primitives"):
            if not isinstance(primitive, dict):
                raise self.wrong("primitives")
            if "KHR_draco_mesh_compression" in self.section(primitive, "extensions"):
                raise broken(self.path, "it is compressed by Draco", fix="export it without compression")
            if "targets" in primitive:
                self._say("morph targets are left out")
            yield from self._primitive(primitive, place)

    def _primitive(self, primitive: dict, place: Float[ndarray, "4 4"]):
        attributes, mode = self.section(primitive, "attributes"), primitive.get("mode", TRIANGLES)
        if mode not in (POINTS, TRIANGLES, STRIP, FAN):
            self._say("lines are left out")
            return
        vertices = self.array(attributes.get("POSITION"), 3)
        self.budget.take("vertices", len(vertices))
        if not np.array_equal(place, np.eye(4)):
            with np.errstate(over="ignore", invalid="ignore"):
                vertices = (vertices.astype(np.float64) @ place[:3, :3].T + place[:3, 3])
        vertices = vertices if vertices.dtype.kind == "f" else vertices.astype(np.float32)
        look = self.section(primitive, "extensions").get(EXTENSION)
        if mode == POINTS and isinstance(look, dict):
            if (look.get("kernel"), look.get("colorSpace")) != ("ellipse", "srgb_rec709_display"):
                self._say("Gaussians are taken for ellipses with display sRGB colours, whatever the file says of them")
            self.splats.append(splats(self, primitive, vertices, place))
            return
        tint = to_display(self._tint(attributes, primitive))
        if mode == POINTS:
            self.points.append((vertices, np.broadcast_to(tint, vertices.shape)))
            return
        faces = self._faces(primitive, len(vertices), mode)
        if np.linalg.det(place[:3, :3]) < 0:
            faces = faces[:, ::-1]
        material = self._material(primitive.get("material"))
        uv = self._uv(attributes, primitive, len(vertices)) if material.maps else None
        coloured = "COLOR_0" in attributes
        if coloured and uv is not None:
            self._say(BESIDE)
        yield Piece(vertices, faces, None if uv is None else uv[faces],
                    np.broadcast_to(tint, vertices.shape) if coloured and uv is None else None, material)  # fmt: skip

    def _faces(self, primitive: dict, count: int, mode: int) -> Int[ndarray, "F 3"]:
        if "indices" in primitive:
            index = within(self.array(primitive["indices"], 1), count, self.path)
        else:
            index = np.arange(count)
        self.budget.take("faces", len(index) // 3 if mode == TRIANGLES else len(index))
        if mode == TRIANGLES:
            return index[: len(index) // 3 * 3].reshape(-1, 3)
        last = np.arange(2, max(len(index), 2))
        if mode == FAN:
            return np.stack([index[last - 1], index[last], np.broadcast_to(index[:1], last.shape) if len(last) else last], -1)
        odd = last % 2
        return np.stack([index[last - 2], index[last - 1 + odd], index[last - odd]], -1)

    # --- what it looks like ---------------------------------------------------------------------------------------------------

    def _pbr(self, index: Any) -> tuple[dict, dict]:
        entry = {} if index is None else self.named("materials", index)
        older = self.section(self.section(entry, "extensions"), "KHR_materials_pbrSpecularGlossiness")
        known = {f"baseColor{key}": older[f"diffuse{key}"] for key in ("Texture", "Factor") if f"diffuse{key}" in older}
        return entry, {**known, **self.section(entry, "pbrMetallicRoughness")}

    def _tint(self, attributes: dict, primitive: dict) -> Float[ndarray, "..."]:
        """Linear colour of all, or of each vertex."""
        factor = self.numbers(self._pbr(primitive.get("material"))[1], "baseColorFactor", [1, 1, 1, 1])[:3]
        if "COLOR_0" not in attributes:
            return factor
        colour = self.array(attributes["COLOR_0"], (3, 4))[:, :3]
        if len(colour) != len(self.array(attributes["POSITION"], 3)):
            raise self.wrong("COLOR_0")
        if colour.dtype.kind in "iu":
            colour = colour / np.iinfo(colour.dtype).max
        return finite(colour, self.path, "colours") * factor

    def _uv(self, attributes: dict, primitive: dict, count: int) -> Float[ndarray, "V 2"] | None:
        """Of the texture, turned so that (0, 0) is the lower left."""
        entry, pbr = self._pbr(primitive.get("material"))
        known = (pbr, ("baseColor", "metallicRoughness")), (entry, ("normal", "occlusion"))
        maps = [holder.get(f"{name}Texture") for holder, names in known for name in names]
        texture, *others = (found for found in maps if isinstance(found, dict))
        moved = self._moved(texture)
        if any(self._moved(other) != moved or self._channel(other) != self._channel(texture) for other in others):
            self._say("maps of one material lie differently: all as its first")
        name = f"TEXCOORD_{self._channel(texture)}"
        if name not in attributes:
            self._say(NO_UV)
            return None
        uv = self.array(attributes[name], 2)
        if len(uv) != count:
            raise self.wrong(name)
        if uv.dtype.kind in "iu":
            uv = uv.astype(np.float32)
        if moved:
            a, scale = float(self.numbers({"r": [moved.get("rotation", 0)]}, "r", [0])[0]), self.numbers(moved, "scale", [1, 1])
            turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
            uv = (uv * scale) @ turn.T + self.numbers(moved, "offset", [0, 0])
        return np.stack([uv[:, 0], 1 - uv[:, 1]], -1).astype(np.float32)

    def _moved(self, texture: dict) -> dict:
        return self.section(self.section(texture, "extensions"), "KHR_texture_transform")

    def _channel(self, texture: dict) -> int:
        return self.whole(self._moved(texture), "texCoord", self.whole(texture, "texCoord"))

    def _material(self, index: Any) -> Material:
        if index is None:
            return Material()
        entry, pbr = self._pbr(index)
        if index not in self.materials:
            colour, repeat = self._texture(pbr, "baseColorTexture")
            if entry.get("alphaMode", "OPAQUE") != "OPAQUE":
                self._say("transparency is left out")
            if "emissiveTexture" in entry or self.numbers(entry, "emissiveFactor", [0, 0, 0]).any():
                self._say("emission is left out")
            tint = self.numbers(pbr, "baseColorFactor", [1, 1, 1, 1])[:3].clip(0, 1)
            rough, metal = (float(self.numbers({"v": [pbr.get(key, 1)]}, "v", [1])[0]) for key in ("roughnessFactor", "metallicFactor"))
            self.materials[index] = Material(
                tuple(to_display(tint).tolist()), tuple(tint.tolist()), min(max(rough, 0), 1), min(max(metal, 0), 1), colour,
                self._texture(pbr, "metallicRoughnessTexture")[0], self._texture(entry, "occlusionTexture")[0],
                self._texture(entry, "normalTexture")[0], repeat)  # fmt: skip
        return self.materials[index]

    def _texture(self, holder: dict, key: str) -> tuple[memoryview | None, tuple[bool, bool]]:
        """A map's encoded picture, and whether it repeats along u and v."""
        if key not in holder:
            return None, (True, True)
        texture = self.named("textures", self.section(holder, key).get("index"))
        source = self.section(self.section(texture, "extensions"), "EXT_texture_webp").get("source", texture.get("source"))
        if source is None:
            raise broken(self.path, "a texture is of a kind that is not read", fix="export it with PNG or JPEG textures")
        sampler = self.named("samplers", texture["sampler"]) if "sampler" in texture else {}
        wraps = [sampler.get(key, REPEAT) for key in ("wrapS", "wrapT")]
        if MIRROR in wraps:
            self._say("a texture that mirrors itself is repeated")
        return self.image(source), (wraps[0] != CLAMP, wraps[1] != CLAMP)
