"""Meshes that move as one binary glTF 2.0 file: morph targets with a `weights` animation, or joints with skinning (Khronos, 2021, sections
3.7.2 and 3.11).

Morph targets are what moments add to the first one, and between moments glTF moves straight. So moments that lie on such a way already
are left out, as are those at which nothing has moved, and of a part that moves alone only its vertices are written (sparse accessors). A
body on joints keeps the four largest weights of every vertex, which then sum to one again.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from dream3d.clips import MeshClip, Skin, sound
from dream3d.errors import Mistake, one_line
from dream3d.export.glb import COMPONENT, VERTICES, accessor, built, container, view, y_up
from dream3d.export.texture import vertex_normals
from dream3d.files import write_bytes
from dream3d.types import Mesh

STILL = 1e-6  # metres, or of a quaternion: what moves less stays
MANY = 64  # targets, above which it is said how large the file is
LARGEST = 1 << 31  # bytes of all targets: a file of glTF has no more than 4 GiB
NAME = 80  # characters of a joint's name
INFLUENCES = 4  # joints of a vertex that every reader knows
LOST = 0.05  # share of a vertex's weights: where more is lost by that, it is said


def write_morph(clip: MeshClip, path: Path, extras: dict) -> None:
    """`extras` as of `write_glb`. Raises Mistake for a clip of more than 2 GiB, or that is not finite. Warns of more than MANY targets."""
    moments = [Mesh(place, clip.mesh.faces) for place in sound(clip).places]
    file = File(clip.mesh, extras)
    file.morph(_rows(clip.places) - _rows(clip.places[:1]), _rows(clip.times), moments if file.lit else [], Path(path).name)
    file.write(path)


def write_skin(skin: Skin, path: Path, extras: dict) -> None:
    """The same of a body on joints; what its poses add at rest are morph targets. Warns where a vertex hangs on more joints than four and
    loses by that."""
    file = File(sound(skin).mesh, extras)
    file.skin(skin, Path(path).name)
    if skin.bends is not None:
        file.morph(_rows(skin.bends), _rows(skin.times), [], Path(path).name)
    file.write(path)


class File:
    """A still mesh as it will be written, and what is added to it."""

    def __init__(self, mesh: Mesh, extras: dict):
        self.document, self.buffer, self.origin = built(mesh, extras)
        self.lit = "KHR_materials_unlit" not in self.document.get("extensionsUsed", [])
        self.node = next(i for i, node in enumerate(self.document["nodes"]) if "mesh" in node)
        self.mesh = self.document["meshes"][self.document["nodes"][self.node]["mesh"]]
        self.channels: list[tuple[int, str, int, int]] = []  # node, what of it, accessors of times and values
        self.clocks: dict[bytes, int] = {}  # accessors of times

    def write(self, path: Path) -> None:
        if self.channels:
            targets = [{"node": node, "path": what} for node, what, _, _ in self.channels]
            samplers = [{"input": times, "interpolation": "LINEAR", "output": values} for _, _, times, values in self.channels]
            channels = [{"sampler": i, "target": target} for i, target in enumerate(targets)]
            self.document["animations"] = [{"name": "motion", "channels": channels, "samplers": samplers}]
        write_bytes(Path(path), container(self.document, self.buffer))

    def add(self, array: ndarray, dtype: str = "<f4", **more: Any) -> int:
        return accessor(self.document, self.buffer, np.ascontiguousarray(array, dtype), **more)

    # --- morph targets ----------------------------------------------------------------------------------------------

    def morph(self, moved: Float[ndarray, "T V 3"], times: Float[ndarray, " T"], moments: list[Mesh], name: str) -> None:
        """What every moment adds to the vertices, and to their normals where the `moments` are given."""
        keys = needed(moved, times)
        _fits(len(keys) * len(self.origin) * 12 * (1 + bool(moments)), name)
        targets, which = [], []  # the moment of every target, and the target of every key (-1: none)
        same: dict[bytes, int] = {}
        for k in keys:
            still = np.abs(moved[k]).max(initial=0) <= STILL
            which.append(-1 if still else same.setdefault(moved[k].tobytes(), len(targets)))
            targets += [k] if which[-1] == len(targets) else []
        if not targets:
            return
        before = len(self.buffer)
        normals = [vertex_normals(moments[k]).numpy() for k in [0, *targets]] if moments else []
        for primitive in self.mesh["primitives"]:
            primitive["targets"] = [{"POSITION": self._added(moved[k])} for k in targets]
            for target, normal in zip(primitive["targets"], normals[1:], strict=bool(moments)):
                target["NORMAL"] = self._added(normal - normals[0])
        self.mesh["weights"] = [0] * len(targets)
        self.mesh["extras"] = self.mesh.get("extras", {}) | {"targetNames": [f"frame_{k:04d}" for k in targets]}
        weights = np.zeros((len(keys), len(targets)))
        for row, target in enumerate(which):
            weights[row, target] = target >= 0
        self._animate(self.node, "weights", times[keys], weights.reshape(-1))
        if len(targets) > MANY:
            size = (len(self.buffer) - before) / 1e6
            warnings.warn(f"{name} has {len(targets)} morph targets, {size:.0f} MB: fewer export.moments make it smaller", stacklevel=3)

    def _added(self, rows: Float[ndarray, "V 3"]) -> int:
        """An accessor of what is added to vertices of the mesh; only those that it moves, where that is smaller."""
        rows = y_up(np.where(np.abs(rows) > STILL, rows, 0)[self.origin]).astype("<f4")
        index = rows.any(1).nonzero()[0]
        if 16 * len(index) >= 12 * len(rows) or len(index) == 0:
            return self.add(rows, target=VERTICES, bounds=True)
        small = "<u2" if len(rows) < 1 << 16 else "<u4"
        place = {"bufferView": view(self.document, self.buffer, index.astype(small).tobytes()), "componentType": COMPONENT[small]}
        values = {"bufferView": view(self.document, self.buffer, rows[index].tobytes())}
        entry = {"componentType": COMPONENT["<f4"], "count": len(rows), "type": "VEC3"}
        entry |= {"min": rows.min(0).tolist(), "max": rows.max(0).tolist()}
        self.document["accessors"].append(entry | {"sparse": {"count": len(index), "indices": place, "values": values}})
        return len(self.document["accessors"]) - 1

    # --- joints -----------------------------------------------------------------------------------------------------

    def skin(self, skin: Skin, name: str) -> None:
        nodes, count = self.document["nodes"], len(skin.names)
        first, parents = len(nodes), skin.parents.tolist()
        place, turns = y_up(_rows(skin.joints)), _turned(_rows(skin.turns))
        way = place - np.where(np.array(parents)[:, None] >= 0, place[parents], 0)
        shift = y_up(_rows(skin.shift))
        for j, joint in enumerate(skin.names):
            root = shift[0] if parents[j] < 0 else 0
            nodes.append({"name": one_line(joint, NAME), "translation": (way[j] + root).tolist(), "rotation": turns[0, j].tolist()})
            below = [first + k for k in range(count) if parents[k] == j]
            nodes[-1] |= {"children": below} if below else {}
            if parents[j] < 0:
                self.document["scenes"][0]["nodes"].append(first + j)
        inverse = np.tile(np.eye(4), (count, 1, 1))
        inverse[:, 3, :3] = -place  # column by column
        entry = {"name": "body", "inverseBindMatrices": self.add(inverse), "joints": list(range(first, first + count))}
        self.document["skins"] = [entry | {"skeleton": first + parents.index(-1)}]
        nodes[self.node]["skin"] = 0
        self._weigh(_rows(skin.weights), name)
        times = _rows(skin.times)
        for j in range(count):
            if np.abs(turns[:, j] - turns[0, j]).max() > STILL:
                self._animate(first + j, "rotation", times, turns[:, j])
            if parents[j] < 0 and np.abs(shift - shift[0]).max() > STILL:
                self._animate(first + j, "translation", times, place[j] + shift)

    def _weigh(self, weights: Float[ndarray, "V J"], name: str) -> None:
        joints, largest, lost = strongest(weights, INFLUENCES)
        byte = "|u1" if weights.shape[1] <= 256 else "<u2"
        for primitive in self.mesh["primitives"]:
            primitive["attributes"]["JOINTS_0"] = self.add(joints[self.origin], byte, target=VERTICES)
            primitive["attributes"]["WEIGHTS_0"] = self.add(largest[self.origin], target=VERTICES)
        if lost.max(initial=0) > STILL:
            told = {"mean": round(float(lost.mean()), 6), "most": round(float(lost.max()), 6)}
            self.mesh["extras"] = self.mesh.get("extras", {}) | {"weightsLost": told}
        if lost.max(initial=0) > LOST:
            warnings.warn(f"{name}: vertices hang on four joints at most; of their weights {lost.mean():.2%} are lost, of one vertex "
                          f"{lost.max():.0%}", stacklevel=4)  # fmt: skip

    # --- animation --------------------------------------------------------------------------------------------------

    def _animate(self, node: int, what: str, times: Float[ndarray, " T"], values: ndarray) -> None:
        if times.tobytes() not in self.clocks:
            self.clocks[times.tobytes()] = self.add(times, bounds=True)
        self.channels.append((node, what, self.clocks[times.tobytes()], self.add(values)))


def needed(moved: Float[ndarray, "T V 3"], times: Float[ndarray, " T"]) -> list[int]:
    """The moments from which straight ways lead through all others: the first, the last, and where ways bend (Douglas and Peucker 1973)."""
    keys, open_ = {0, len(times) - 1}, [(0, len(times) - 1)]
    while open_:
        a, b = open_.pop()
        if b - a < 2:
            continue
        off = []
        for k in range(a + 1, b):
            share = (times[k] - times[a]) / (times[b] - times[a])
            off.append(np.abs(moved[k] - moved[a] - share * (moved[b] - moved[a])).max(initial=0))
        worst = a + 1 + int(np.argmax(off))
        if max(off) > STILL:
            keys.add(worst)
            open_ += [(a, worst), (worst, b)]
    return sorted(keys)


def strongest(weights: Float[ndarray, "V J"], count: int) -> tuple[ndarray, Float[ndarray, "V n"], Float[ndarray, " V"]]:
    """The joints that move a vertex most, their weights, of sum one, and the share that the others had. A joint without a weight is 0."""
    weights = np.pad(weights, ((0, 0), (0, max(0, count - weights.shape[1]))))
    joints = np.argsort(-weights, axis=1, kind="stable")[:, :count]
    largest = np.take_along_axis(weights, joints, 1)
    total = largest.sum(1, keepdims=True)
    largest = (largest / total).astype("<f4")
    largest[:, 0] = 1 - largest[:, 1:].sum(1)
    return np.where(largest > 0, joints, 0), largest, 1 - total[:, 0] / weights.sum(1)


def _turned(turns: Float[ndarray, "T J 4"]) -> Float[ndarray, "T J 4"]:
    """Unit quaternions wxyz of the world, as glTF's xyzw, y up; from moment to moment on the same side, so that readers that
    interpolate number by number go the short way too."""
    turns = turns / np.linalg.norm(turns, axis=-1, keepdims=True)
    dot = (turns[1:] * turns[:-1]).sum(-1)
    turns[1:] *= np.cumprod(np.where(dot < 0, -1, 1), 0)[..., None]
    w, x, y, z = np.moveaxis(turns, -1, 0)
    return np.stack([x, z, -y, w], -1)


def _fits(size: int, name: str) -> None:
    if size > LARGEST:
        raise Mistake(f"{name} would hold {size >> 20} MiB of morph targets, more than {LARGEST >> 20}", where="export.moments",
                      fix="fewer export.moments, or export.faces", code=4)  # fmt: skip


def _rows(tensor: Tensor) -> ndarray:
    return tensor.detach().cpu().double().numpy()
