"""CUDA kernels run on the CPU: the same text, compiled by g++ under a shim, called as torch calls what NVRTC compiled.

Blocks and threads run one after the other, so races cannot show; indices, types of arguments and arithmetic do.
"""

import ctypes
import subprocess

import torch

SHIM = """
#include <cstddef>
#include <utility>
#define __global__
#define __device__
struct float2 { float x, y; };
struct dim3 { unsigned x, y, z; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;
static float atomicAdd(float* where, float what) { float before = *where; *where += what; return before; }
"""
DRIVER = """
template <class... A, size_t... I> void all(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)
    for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) kernel(*(A*)arguments[I]...);
}
template <class... A> void all(void (*kernel)(A...), void** arguments) { all(kernel, arguments, std::index_sequence_for<A...>()); }
"""


def built(source: str, names: tuple[str, ...], folder) -> tuple:
    """The kernels of that name. They take tensors, and ints as C's int."""
    go = "".join(f'extern "C" void run_{name}(dim3 g, dim3 b, void** a) {{ gridDim = g; blockDim = b; all({name}, a); }}\n'
                 for name in names)  # fmt: skip
    (folder / "kernels.cpp").write_text(SHIM + source + DRIVER + go)
    command = [
        "g++",
        "-std=c++17",
        "-O2",
        "-Wno-unknown-pragmas",
        "-shared",
        "-fPIC",
        "kernels.cpp",
        "-o",
        "kernels.so",
    ]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "kernels.so"))
    return tuple(_kernel(getattr(library, f"run_{name}")) for name in names)


class _Dim3(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


def _kernel(run):
    run.argtypes, run.restype = [_Dim3, _Dim3, ctypes.c_void_p], None

    def call(grid, block, args):
        values = [_value(value) for value in args]
        assert block[1:] == (1, 1) and all(size >= 1 for size in grid) and grid[1] < 1 << 16
        run(_Dim3(*grid), _Dim3(*block), (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values)))

    return call


def _value(value):
    if not isinstance(value, torch.Tensor):
        return ctypes.c_int(value)
    assert value.is_contiguous() and value.data_ptr() % 8 == 0 and value.dtype in (torch.float32, torch.int32)
    return ctypes.c_void_p(value.data_ptr())
