"""Encode places by a multiresolution hash grid on CUDA, by three kernels of our own: the fast twin of hash_torch on a GPU.

They are one text, which the NVRTC that comes with torch compiles in a fraction of a second: no nvcc, no C++ compiler, no toolkit. Where
entries lie: see hash_rows. Gradients of entries are summed by atomics, not the same bytes twice; those of places by one thread each.

Why not tiny-cuda-nn's encoding, whose hash is the same: it shifts every level by half a cell, rounds the length of a level up to a multiple
of 8 and keeps entries in half precision, so that a scene would be another one on a machine that has it.
"""

from collections.abc import Callable
from contextlib import contextmanager
from functools import lru_cache

import torch
from dream3d.renderers._backends.hash_choice import kernel
from dream3d.renderers._backends.hash_rows import PRIMES, levels
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

THREADS = 256
NAMES = ("hash_forward", "hash_table", "hash_x")
SOURCE = r"""
struct Level { int resolution, first, dense; };

struct Corners {  // of the cell that holds a place: 8 entries, x fastest, and the shares of the cell below and above the place
    unsigned entry[8];
    float share[3][2];
};

__device__ Corners corners(const float* x, Level level, unsigned size) {
    Corners at;
    unsigned cell[3];
    for (int k = 0; k < 3; ++k) {
        float p = x[k] > 0.0f ? x[k] : 0.0f;  // what is not a number is nowhere in cell 0
        p = (p < 1.0f ? p : 1.0f) * (float)level.resolution;
        cell[k] = (unsigned)p < (unsigned)level.resolution ? (unsigned)p : (unsigned)level.resolution - 1u;
        at.share[k][1] = x[k] == x[k] ? p - (float)cell[k] : x[k];
        at.share[k][0] = 1.0f - at.share[k][1];
    }
    for (int c = 0; c < 8; ++c) {
        unsigned i = cell[0] + (c & 1), j = cell[1] + (c >> 1 & 1), k = cell[2] + (c >> 2), n = level.resolution + 1;
        unsigned hash = i ^ j * PRIME_Y ^ k * PRIME_Z;
        at.entry[c] = level.first + (level.dense ? i + n * (j + n * k) : size & (size - 1) ? hash % size : hash & (size - 1));
    }
    return at;
}

extern "C" __global__ void hash_forward(
    const float* x, const float2* table, const Level* levels, int count, int size, float2* out) {
    int n = blockIdx.x * blockDim.x + threadIdx.x, level = blockIdx.y;
    if (n >= count) return;
    Corners at = corners(x + 3 * (size_t)n, levels[level], size);
    float2 sum = {0.0f, 0.0f};
    for (int c = 0; c < 8; ++c) {
        float weight = at.share[0][c & 1] * at.share[1][c >> 1 & 1] * at.share[2][c >> 2];
        float2 entry = table[at.entry[c]];
        sum.x += weight * entry.x;
        sum.y += weight * entry.y;
    }
    out[(size_t)n * gridDim.y + level] = sum;
}

extern "C" __global__ void hash_table(
    const float* x, const float2* pull, const Level* levels, int count, int size, float2* by_table) {
    int n = blockIdx.x * blockDim.x + threadIdx.x, level = blockIdx.y;
    if (n >= count) return;
    Corners at = corners(x + 3 * (size_t)n, levels[level], size);
    float2 g = pull[(size_t)n * gridDim.y + level];
    for (int c = 0; c < 8; ++c) {
        float weight = at.share[0][c & 1] * at.share[1][c >> 1 & 1] * at.share[2][c >> 2];
        atomicAdd(&by_table[at.entry[c]].x, weight * g.x);
        atomicAdd(&by_table[at.entry[c]].y, weight * g.y);
    }
}

extern "C" __global__ void hash_x(
    const float* x, const float2* table, const float2* pull, const Level* levels, int depth, int count, int size, float* by_x) {
    int n = blockIdx.x * blockDim.x + threadIdx.x;
    if (n >= count) return;
    x += 3 * (size_t)n;
    float sum[3] = {0.0f, 0.0f, 0.0f};
    for (int level = 0; level < depth; ++level) {
        Corners at = corners(x, levels[level], size);
        float2 g = pull[(size_t)n * depth + level];
        float r = (float)levels[level].resolution;
        for (int c = 0; c < 8; ++c) {
            float2 entry = table[at.entry[c]];
            float slope = r * (g.x * entry.x + g.y * entry.y);
            float u = at.share[0][c & 1], v = at.share[1][c >> 1 & 1], w = at.share[2][c >> 2];
            sum[0] += (c & 1 ? slope : -slope) * v * w;
            sum[1] += (c >> 1 & 1 ? slope : -slope) * u * w;
            sum[2] += (c >> 2 ? slope : -slope) * u * v;
        }
    }
    for (int k = 0; k < 3; ++k) by_x[3 * (size_t)n + k] = x[k] < 0.0f || x[k] > 1.0f ? 0.0f : sum[k];
}
""".replace("PRIME_Y", f"{PRIMES[0]}u").replace("PRIME_Z", f"{PRIMES[1]}u")


@lru_cache(1)
def trouble() -> str:
    """Why the kernels cannot be used here, or "" where they can."""
    if not torch.cuda.is_available():
        return "there is no CUDA device"
    if not hasattr(torch.cuda, "_compile_kernel"):
        return f"torch {torch.__version__} cannot compile kernels"
    try:
        compiled(torch.cuda.current_device())
    except Exception as error:  # whatever a driver, NVRTC or another release of torch does
        return f"the kernels do not compile: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
    return ""


@lru_cache
def compiled(device: int) -> tuple[Callable, ...]:
    """The kernels, in the order of NAMES, loaded on a device."""
    with torch.cuda.device(device), _without_toolkit():
        return tuple(torch.cuda._compile_kernel(SOURCE, name) for name in NAMES)


@contextmanager
def _without_toolkit():
    """torch passes NVRTC the headers of the CUDA toolkit, and fails where there is none; our text includes none."""
    from torch.utils import cpp_extension

    before = cpp_extension.CUDA_HOME
    cpp_extension.CUDA_HOME = before or torch.__path__[0]
    try:
        yield
    finally:
        cpp_extension.CUDA_HOME = before


def encode(
    x: Float[Tensor, "N 3"], table: Float[Tensor, "T 2"], resolutions: tuple[int, ...], size: int
) -> Float[Tensor, "N F"]:
    """Trilinear features of every level at x in [0, 1]^3; float32 on CUDA, else Mistake. See hash_torch.encode for the meaning of every
    argument."""
    kernel(x.device.type, x.dtype == table.dtype == torch.float32, "cuda", trouble)
    return launch(x, table, resolutions, size, compiled(x.device.index))


def launch(
    x: Float[Tensor, "N 3"],
    table: Float[Tensor, "T 2"],
    resolutions: tuple[int, ...],
    size: int,
    kernels: tuple[Callable, ...],
) -> Float[Tensor, "N F"]:
    """`encode` by three kernels that are called as torch's are."""
    return _Encode.apply(x, table, _levels(resolutions, size, len(table), x.device), size, kernels)


@lru_cache
def _levels(resolutions: tuple[int, ...], size: int, entries: int, device: torch.device) -> Int[Tensor, "L 3"]:
    return torch.tensor(levels(resolutions, size, entries), dtype=torch.int32, device=device)


def _whole(values: Tensor) -> Tensor:
    """Without gaps, and where pairs of numbers can be read at once."""
    values = values.contiguous()
    return values if values.data_ptr() % 8 == 0 else values.clone()


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, table, levels, size, kernels):
        x, table = _whole(x), _whole(table)
        out = x.new_empty(len(x), 2 * len(levels))
        _run(kernels[0], x, len(levels), [x, table, levels, len(x), size, out])
        ctx.save_for_backward(x, table, levels)
        ctx.size, ctx.kernels = size, kernels
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, pull):
        (x, table, levels), pull = ctx.saved_tensors, _whole(pull)
        by_x = by_table = None
        if ctx.needs_input_grad[0]:
            by_x = torch.empty_like(x)
            _run(ctx.kernels[2], x, 1, [x, table, pull, levels, len(levels), len(x), ctx.size, by_x])
        if ctx.needs_input_grad[1]:
            by_table = torch.zeros_like(table)
            _run(ctx.kernels[1], x, len(levels), [x, pull, levels, len(x), ctx.size, by_table])
        return by_x, by_table, None, None, None


def _run(kernel: Callable, x: Float[Tensor, "N 3"], layers: int, arguments: list) -> None:
    if len(x):
        kernel(grid=(-(-len(x) // THREADS), layers, 1), block=(THREADS, 1, 1), args=arguments)
