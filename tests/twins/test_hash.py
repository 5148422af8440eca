"""One body for every hash grid backend: values and gradients on one random cotangent, against the torch twin in float64."""

import itertools
import math
import shutil

import on_host
import pytest
import torch
import torch.nn.functional as F
from dream3d.renderers._backends import hash_cuda, hash_numba, hash_torch
from dream3d.renderers._backends.hash_choice import kernel
from dream3d.renderers._backends.hash_rows import dense, levels, rows

from dream3d.errors import Mistake

CUDA = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
BACKENDS = [
    pytest.param("numba", "cpu", torch.float32, 2e-5, id="numba"),
    pytest.param("torch", "cpu", torch.float32, 2e-5, id="torch"),
    pytest.param("host", "cpu", torch.float32, 2e-5, id="cuda-source-on-the-cpu"),
    pytest.param("torch", "cuda", torch.float64, 1e-10, id="torch64-cuda", marks=CUDA),
    pytest.param("torch", "cuda", torch.float32, 2e-5, id="torch-cuda", marks=CUDA),
    pytest.param("cuda", "cuda", torch.float32, 2e-5, id="cuda", marks=CUDA),
]


@pytest.fixture(scope="session")
def backend(tmp_path_factory):
    """Encoders by name; "host" is the CUDA text under g++."""
    ready = {"numba": hash_numba.encode, "torch": hash_torch.encode, "cuda": hash_cuda.encode}

    def named(name):
        if name == "host" and name not in ready:
            if shutil.which("g++") is None:
                pytest.skip("needs g++ to compile the CUDA kernels for the CPU")
            kernels = on_host.built(hash_cuda.SOURCE, hash_cuda.NAMES, tmp_path_factory.mktemp("kernels"))
            ready[name] = lambda *arguments: hash_cuda.launch(*arguments, kernels)
        return ready[name]

    return named


def random(seed, resolutions, size, count, low=0.0, high=1.0):
    """Places and entries, rounded to float32. No place is so near to a node that float32 may take it to the other side."""
    g = torch.Generator().manual_seed(seed)
    x = low + (high - low) * torch.rand(2 * count, 3, generator=g)
    p = x[:, None].double() * torch.tensor(resolutions)[:, None]
    x = x[((p - p.round()).abs() > 1e-4).all(-1).all(-1)][:count]
    assert len(x) == count
    return x, torch.randn(rows(resolutions, size)[-1], 2, generator=g), resolutions, size


def mixed():
    """Dense levels and hashed ones; a power of two."""
    return random(0, (4, 9, 16, 33, 64), 1 << 10, 3000)


def odd():
    """No power of two, so a true remainder; and fewer entries than one level has nodes along an edge."""
    return random(1, (3, 7, 50, 201), 37, 500)


def outside():
    return random(2, (2, 5, 12), 300, 800, -0.7, 1.6)


def whole():
    return random(3, (1, 2, 3, 8), 1 << 20, 700)


def one():
    return random(5, (16,), 4096, 1)


def none():
    return random(6, (4, 40), 500, 0)


CASES = [mixed, odd, outside, whole, one, none]


def run(encode, case, dtype, device="cpu"):
    x, table, resolutions, size = case
    leaves = [v.detach().clone().to(device, dtype).requires_grad_() for v in (x, table)]
    out = encode(*leaves, resolutions, size)
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(99), dtype=torch.float64).to(device, dtype)
    return dict(zip(("out", "x", "table"), (out, *torch.autograd.grad(out, leaves, pull)), strict=True))


@pytest.mark.parametrize(("name", "device", "dtype", "tolerance"), BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_backends_agree_in_values_and_gradients(case, name, device, dtype, tolerance, backend):
    expected = run(hash_torch.encode, case(), torch.float64)
    found = run(backend(name), case(), dtype, device)
    for what, value in expected.items():
        assert found[what].shape == value.shape and found[what].dtype == dtype
        if value.numel():
            assert value.abs().max() > 0.1 or case is none  # something to agree on
            assert (found[what].double().cpu() - value).abs().max() <= tolerance * value.abs().max(), what


@pytest.mark.parametrize("name", ["numba", "host"])
def test_on_nodes_and_faces_every_backend_takes_the_same_side(name, backend):
    """Where float32 decides: slopes are those of the twin in the same precision, towards larger x but at 1."""
    resolutions, size = (2, 4, 8, 48), 200
    axis = torch.cat([torch.linspace(0, 1, 9), torch.tensor([-0.5, 1.5, 1 / 3, 47 / 48, 1 - 2**-24, -0.0, 2**-140])])
    case = torch.cartesian_prod(axis, axis, axis), random(7, resolutions, size, 1)[1], resolutions, size
    expected, found = run(hash_torch.encode, case, torch.float32), run(backend(name), case, torch.float32)
    for what, value in expected.items():
        torch.testing.assert_close(found[what], value, rtol=0, atol=2e-5 * value.abs().max().item())


@pytest.mark.parametrize("name", ["numba", "torch", "host"])
def test_entries_are_those_of_the_paper(name, backend):
    """At a node only its own entry counts: found by its gradient, and told by the paper's formula in Python's whole numbers."""
    resolutions, size = (5, 1023, 32767), 4096
    first = rows(resolutions, size)
    assert first == (0, 216, 216 + 4096, 216 + 2 * 4096) and [dense(r, size) for r in resolutions] == [
        True,
        False,
        False,
    ]
    g = torch.Generator().manual_seed(8)
    for level, r in enumerate(resolutions):
        nodes = torch.randint(0, r + 1, (60, 3), generator=g)
        x = nodes.double() / r
        x = torch.where((x.float() * r).long() < nodes, x.float().nextafter(torch.tensor(2.0)), x.float())
        for node, place in zip(nodes.tolist(), x, strict=True):
            table = torch.zeros(first[-1], 2, requires_grad=True)
            (gradient,) = torch.autograd.grad(
                backend(name)(place[None], table, resolutions, size)[0, 2 * level + 1], table
            )
            i, j, k = node
            entry = i + 6 * j + 36 * k if level == 0 else ((i ^ j * 2654435761 ^ k * 805459861) % 2**32) % size
            assert gradient[:, 1].argmax() == first[level] + entry and gradient[:, 1].max() > 0.97
            assert gradient[:, 0].eq(0).all()


def test_every_dense_level_is_grid_sample(backend):
    resolutions, size = (3, 6), 7**3
    x, table, *_ = random(9, resolutions, size, 400)
    out = backend("numba")(x, table, resolutions, size)
    for level, (r, first) in enumerate(zip(resolutions, rows(resolutions, size), strict=False)):
        grid = table[first : first + (r + 1) ** 3].view(r + 1, r + 1, r + 1, 2).movedim(-1, 0)  # z, y, x
        expected = F.grid_sample(grid[None], 2 * x[None, None, None] - 1, align_corners=True)[0, :, 0, 0].T
        torch.testing.assert_close(out[:, 2 * level : 2 * level + 2], expected, atol=1e-5, rtol=0)


def test_continuous_across_the_faces_of_cells(backend):
    resolutions, size = (4, 24, 96), 512
    table, g = random(10, resolutions, size, 1)[1], torch.Generator().manual_seed(10)
    for level, r in enumerate(resolutions):
        x = torch.rand(500, 3, generator=g)
        axis = torch.arange(500) % 3
        face = torch.randint(1, r, (500,), generator=g) / r
        gap, sides = 1e-5 / r, []
        for side in (-gap, gap):
            sides.append(
                backend("numba")(x.scatter(1, axis[:, None], (face + side)[:, None]), table, resolutions, size)
            )
        jump = (sides[1] - sides[0])[:, 2 * level : 2 * level + 2].abs().max()
        assert (
            0 < jump < 3e-3 * table.abs().max()
        )  # entries of independent numbers: another cell's would differ by about 1


def test_collisions_add_up(backend):
    """Two nodes of one entry: what either place pulls on arrives there."""
    resolutions, size = (40,), 512
    seen = {}
    for node in itertools.product(range(0, 40, 3), repeat=3):
        entry = ((node[0] ^ node[1] * 2654435761 ^ node[2] * 805459861) % 2**32) % size
        seen.setdefault(entry, []).append(node)
    entry, nodes = next((e, n) for e, n in seen.items() if len(n) > 1)
    x = (torch.tensor(nodes[:2]) + 0.01) / 40
    table = torch.zeros(size, 2, requires_grad=True)
    out = backend("numba")(x, table, resolutions, size)
    (gradient,) = torch.autograd.grad(out, table, torch.tensor([[1.0, 0.0], [1.0, 10.0]]))
    assert gradient[entry, 0] > 1.9 and math.isclose(gradient[entry, 1], 10 * 0.99**3, rel_tol=0.05)


def test_twin_matches_finite_differences():
    x, table, resolutions, size = random(11, (2, 5), 40, 6)
    leaves = [v.double().requires_grad_() for v in (x, table)]
    assert torch.autograd.gradcheck(lambda *v: hash_torch.encode(*v, resolutions, size), leaves, eps=1e-6, atol=1e-7)


def test_numba_is_bitwise_repeatable_with_any_number_of_threads():
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(run(hash_numba.encode, mixed(), torch.float32))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(results[0][name], other[name]) for name in other)


@pytest.mark.parametrize("name", ["numba", "torch", "host"])
def test_what_is_not_a_number_stays_so_and_harms_nothing_else(name, backend):
    x, table, resolutions, size = mixed()
    x = x[:50].clone()
    clean = backend(name)(x, table, resolutions, size)
    x[3, 0], x[7, 2], x[9, 1], x[11, 0] = torch.nan, torch.nan, torch.inf, -torch.inf
    out = backend(name)(x, table, resolutions, size)
    assert out[[3, 7]].isnan().all() and out[[9, 11]].isfinite().all()
    rest = [n for n in range(50) if n not in (3, 7, 9, 11)]
    assert torch.equal(out[rest], clean[rest])
    slope = run(backend(name), (x, table, resolutions, size), torch.float32)["x"]
    assert slope[[3, 7]].isnan().any(1).all() and slope[rest].isfinite().all() and slope[9, 1] == slope[11, 0] == 0


@pytest.mark.parametrize("name", ["numba", "torch", "host"])
def test_any_layout_of_the_arguments(name, backend):
    x, table, resolutions, size = outside()
    expected = backend(name)(x, table, resolutions, size)
    shifted = torch.cat([torch.zeros(1), table.flatten()])[1:].view(-1, 2)  # pairs that do not lie on pairs
    spread = torch.stack([x, x], -1)[..., 0]
    assert torch.equal(backend(name)(spread, shifted, resolutions, size), expected)
    leaf = table.clone().requires_grad_()
    backend(name)(x, leaf, resolutions, size).sum().backward()  # an expanded cotangent
    assert leaf.grad.sum().item() == pytest.approx(2 * len(resolutions) * len(x), rel=1e-4)


def test_a_table_of_another_length_is_refused():
    x, table, resolutions, size = mixed()
    for encode in (hash_numba.encode, hash_torch.encode, lambda *v: hash_cuda.launch(*v, ())):
        with pytest.raises((ValueError, RuntimeError), match="entries|split"):
            encode(x, table[:-1], resolutions, size)
    assert levels((2, 9), 100, 127) == [(2, 0, True), (9, 27, False)]


def test_which_kernel_and_why():
    assert kernel("cpu", True) == ("numba", "float32 on the CPU") and kernel("cpu", False)[0] == "torch"
    assert kernel("cuda", True) == ("cuda", "float32 on CUDA") and kernel("mps", True)[0] == "torch"
    assert kernel("cuda", True, trouble=lambda: "too old") == ("torch", "on cuda, too old")
    for device, single, wanted in [("cuda", True, "numba"), ("cpu", False, "numba"), ("cpu", True, "cuda")]:
        with pytest.raises(Mistake, match=f"the {wanted} backend needs"):
            kernel(device, single, wanted)
    with pytest.raises(Mistake, match="cannot be used: too old"):
        kernel("cuda", True, "cuda", lambda: "too old")
    if not torch.cuda.is_available():
        assert hash_cuda.trouble() == "there is no CUDA device"
        with pytest.raises(Mistake, match="needs CUDA"):
            hash_cuda.encode(torch.zeros(1, 3), torch.zeros(8, 2), (1,), 8)
