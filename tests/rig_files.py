"""Files that rigs are read from: rigs of one's own, and bodies laid out as SMPL, SMPL-X and FLAME are."""

import json
import pickle
import sys
import types

import numpy as np
from safetensors.numpy import save_file


def written(tmp_path, arrays: dict, said: dict | str, name: str = "arm"):
    path = tmp_path / f"{name}.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path)
    path.with_suffix(".json").write_text(said if isinstance(said, str) else json.dumps(said))
    return path


TREE = [-1, 0, 1, 1, 1]


def model(seed: int = 0, *, columns: int = 20, parents=TREE, kind=np.float64) -> dict[str, np.ndarray]:
    """Numbers laid out as in these models' files, of 30 vertices."""
    g, v, j = np.random.default_rng(seed), 30, len(parents)
    weights = g.random((v, j)) ** 3
    regressor = g.random((j, v)) * (g.random((j, v)) < 0.2) + 1e-3
    return {"v_template": g.normal(size=(v, 3)).astype(kind), "f": g.integers(0, v, (20, 3)).astype(np.uint32),
            "shapedirs": 0.1 * g.normal(size=(v, 3, columns)), "posedirs": 0.05 * g.normal(size=(v, 3, 9 * (j - 1))),
            "J_regressor": regressor / regressor.sum(1, keepdims=True), "weights": weights / weights.sum(1, keepdims=True),
            "kintree_table": np.array([[2**32 - 1 if p < 0 else p for p in parents], range(j)], dtype=np.uint32)}  # fmt: skip


class Ch:
    """As chumpy's array pickles."""

    def __init__(self, x):
        self.x, self._dirty_vars = x, {"x"}


class Select:
    def __init__(self, a, idxs, preferred_shape):
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


Ch.__module__, Select.__module__ = "chumpy.ch", "chumpy.reordering"


def pickled(tmp_path, content, protocol: int = 2, name: str = "model.pkl"):
    """Pickled under the names that such files have; modules of these names are there only meanwhile."""
    modules = {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": types.ModuleType("chumpy.ch"),
               "chumpy.reordering": types.ModuleType("chumpy.reordering")}  # fmt: skip
    modules["chumpy.ch"].Ch, modules["chumpy.reordering"].Select = Ch, Select
    sys.modules |= modules
    try:
        (tmp_path / name).write_bytes(pickle.dumps(content, protocol=protocol))
    finally:
        for module in modules:
            del sys.modules[module]
    return tmp_path / name
