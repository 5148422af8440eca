"""Arrays out of a pickle, of which nothing is run: no name in it is ever imported.

A pickle is a program. Here its names stand for notes: every name that body models use (numpy arrays, scipy's sparse matrices, chumpy's
arrays) is a class of this file that only remembers what it was called with, every other name is refused, and so are the instructions
that these files do not need. What has been noted is read as arrays afterwards.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from dream3d.foreign.files import broken, whole

BYTES = 1 << 30
DENSE = 1 << 24  # numbers of a sparse matrix with its zeros
KINDS = "fiub"  # of numbers
DEPTH = 4  # of arrays in arrays
FIX = "the model file itself, as its authors hand it out"


class Note:
    """Something that a pickle makes: `args` it was made with, `state` it was given then."""

    def __new__(cls, *args):
        note = super().__new__(cls)
        note.args, note.state = args, None
        return note

    def __setstate__(self, state):
        self.state = state


class Array(Note):
    """numpy.ndarray, the class."""


class Made(Note):
    """numpy's way to begin an array, whose state then holds it."""


class Buffer(Note):
    """An array out of a buffer (protocol 5)."""


class Scalar(Note):
    """One number."""


class Kind(Note):
    """numpy.dtype."""


class Bytes(Note):
    """Bytes written as text, as protocol 2 does."""


class Heap(Note):
    """A set, which chumpy keeps of what has changed."""


class Sparse(Note):
    """A sparse matrix, by columns."""


class Rows(Sparse):
    """A sparse matrix, by rows."""


class Chumpy(Note):
    """An array of chumpy, whose numbers are called x."""


class Select(Note):
    """A part of one: numbers idxs of a, in a shape."""


class Object(Note):
    """object, the class."""


class Rebuilt(Note):
    """Python 2's way to begin an object of the class that comes first."""


_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
KNOWN: dict[tuple[str, str], type[Note]] = {
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Kind,
    **{(module, "_reconstruct"): Made for module in _NUMPY},
    **{(module, "scalar"): Scalar for module in _NUMPY},
    **{(module, "_frombuffer"): Buffer for module in _NUMERIC},
    ("_codecs", "encode"): Bytes,
    **{(module, "bytes"): Bytes for module in ("__builtin__", "builtins")},
    **{(module, "set"): Heap for module in ("__builtin__", "builtins")},
    **{(f"scipy.sparse.{module}", "csc_matrix"): Sparse for module in ("csc", "_csc")},
    **{(f"scipy.sparse.{module}", "csr_matrix"): Rows for module in ("csr", "_csr")},
    ("chumpy.ch", "Ch"): Chumpy,
    ("chumpy.reordering", "Select"): Select,
    **{(module, "_reconstructor"): Rebuilt for module in ("copy_reg", "copyreg")},
    **{(module, "object"): Object for module in ("__builtin__", "builtins")},
}
REFUSED = ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "INST", "OBJ", "NEWOBJ_EX")


class _Reader(pickle._Unpickler):
    """Python's own reader, not C's, whose instructions can be taken away: the memo of the other takes memory for a number in the file."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> type[Note]:
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return KNOWN[module, name]

    def _made(self) -> None:
        """REDUCE and NEWOBJ."""
        args, what = self.stack.pop(), self.stack[-1]
        if not (isinstance(what, type) and issubclass(what, Note) and isinstance(args, tuple)):
            raise pickle.UnpicklingError("it calls what is no array")
        self.stack[-1] = what(*args)

    def _given(self) -> None:
        """BUILD."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Note):
            raise pickle.UnpicklingError("it gives a state to what is no array")
        self.stack[-1].__setstate__(state)

    def _bytes(self) -> None:
        """BYTEARRAY8, without taking memory for what is not there."""
        size = int.from_bytes(self.read(8), "little")
        data = self.read(size)
        if len(data) != size:
            raise pickle.UnpicklingError("it ends too early")
        self.append(data)

    def _refused(self) -> None:
        raise pickle.UnpicklingError("it has an instruction that arrays do not need")

    dispatch |= {pickle.REDUCE[0]: _made, pickle.NEWOBJ[0]: _made, pickle.BUILD[0]: _given, pickle.BYTEARRAY8[0]: _bytes}
    dispatch |= dict.fromkeys((getattr(pickle, name)[0] for name in REFUSED), _refused)


def unpickled(path: Path, keys: tuple[str, ...]) -> dict[str, ndarray]:
    """The arrays that a pickled dictionary has under these keys. Raises Mistake for a pickle that names what is no array, and for what
    is none."""
    data = whole(path, BYTES)
    try:
        said = _Reader(io.BytesIO(data), encoding="latin1").load()
    except pickle.UnpicklingError as error:
        raise broken(path, f"{error}; nothing of it was run", fix=FIX) from None
    except Exception as error:  # what a broken program may do to its reader cannot be listed
        raise broken(path, f"no pickle: {type(error).__name__}: {error}", fix=FIX) from None
    if not isinstance(said, dict):
        raise broken(path, "it holds no dictionary", fix=FIX)
    found = {key: said[key] for key in keys if said.get(key) is not None}
    try:
        return {key: _array(value) for key, value in found.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError, OverflowError) as error:
        raise broken(path, f"one of {', '.join(found)} is no array: {error}"[:150], fix=FIX) from None


def _array(note: Any, depth: int = 0) -> ndarray:
    """What was noted, as numbers. Raises ValueError and its like where it is something else."""
    if depth > DEPTH:
        raise ValueError("arrays within arrays")
    kind = note.args[0] if isinstance(note, Rebuilt) else type(note)
    if kind is Made:
        _, shape, what, fortran, data = note.state
        return _filled(_raw(data), what, shape, "F" if fortran else "C")
    if kind is Buffer:
        data, what, shape, order = note.args
        return _filled(_raw(data), what, shape, order)
    if kind is Chumpy:
        return _array(note.state["x"], depth + 1)
    if kind is Select:
        some = _array(note.state["a"], depth + 1).reshape(-1)[_array(note.state["idxs"], depth + 1)]
        return some.reshape(note.state.get("preferred_shape", some.shape))
    if isinstance(kind, type) and issubclass(kind, Sparse):
        return _dense(note.state, kind is Rows, depth)
    raise ValueError(f"it is {kind.__name__.lower()}")


def _raw(data: Any) -> bytes:
    """Bytes, also where Python 2 or protocol 2 has written them as text."""
    if isinstance(data, Bytes):
        text, code = data.args if data.args else ("", "latin1")  # protocol 2 has b"" as a call without arguments
        if code not in ("latin1", "latin-1"):
            raise ValueError(f"bytes written as {str(code)[:20]}")
        data = text
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


def _filled(data: bytes, what: Kind, shape: tuple, order: str) -> ndarray:
    """Numbers of a kind in a shape, if they are as many."""
    kind = np.dtype(what.args[0])
    if kind.kind not in KINDS:
        raise ValueError(f"it holds {kind}, not numbers")
    if what.state is not None and what.state[1] in ("<", ">"):
        kind = kind.newbyteorder(what.state[1])
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError(f"it has the shape {shape}")
    return np.frombuffer(data, kind).reshape(shape, order=order).astype(kind.newbyteorder("="))


def _dense(state: dict, rows: bool, depth: int) -> ndarray:
    """A sparse matrix with all its zeros."""
    high, wide = (int(n) for n in state["_shape" if "_shape" in state else "shape"])
    if min(high, wide) < 0 or high * wide > DENSE:
        raise ValueError(f"a matrix of {high} x {wide}")
    data, index, ends = (_array(state[name], depth + 1) for name in ("data", "indices", "indptr"))
    major, minor = (high, wide) if rows else (wide, high)
    lengths = np.diff(ends.astype(np.int64))
    sound = len(ends) == major + 1 and ends[0] == 0 and ends[-1] == len(index) == len(data) and (lengths >= 0).all()
    if not sound or len(index) and not 0 <= int(index.min()) <= int(index.max()) < minor:
        raise ValueError("a sparse matrix that contradicts itself")
    dense = np.zeros((major, minor))
    np.add.at(dense, (np.repeat(np.arange(major), lengths), index.astype(np.int64)), data)
    return dense if rows else dense.T
