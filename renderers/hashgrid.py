"""A multiresolution hash grid read by a small perceptron (Instant-NGP, Mueller et al., arXiv:2201.05989), coarse levels first
(Neuralangelo, Li et al., arXiv:2306.03092).

Read in numba on the CPU, by our own kernels on CUDA, in torch elsewhere (`_backends/hash_*`: the same signature and function).
"""

from typing import ClassVar, Literal

import torch
from dream3d.renderers._backends import hash_cuda, hash_numba, hash_torch
from dream3d.renderers._backends.hash_choice import kernel
from dream3d.renderers._backends.hash_rows import rows
from dream3d.renderers._mlp import MLP
from dream3d.renderers._volume import Volume
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, Ramp, Share, at
from dream3d.types import Field, Mesh, Points, Step

BACKENDS = {"numba": hash_numba, "torch": hash_torch, "cuda": hash_cuda}


class HashGrid(Volume, Representation):
    """levels: grids of `coarsest` to `finest` cells a side, in even ratios, each of at most `entries` entries of two features; hidden,
    layers: of the perceptron. `coarse` levels count from the start, the others one by one between progress `levels_from` and
    `levels_until`; once they count they do so to the end, and all do in a scene that is started from another. lr of entries, lr_net of the
    perceptron, per Adam step. backend "auto": numba for float32 on the CPU, our kernels for float32 on CUDA, else torch."""

    memory: ClassVar[str] = (
        "600 * (1 + 4 * (normals == 'samples' or shading != 'albedo')) * min(chunk, views * side**2 * samples)"
        " + 60 * views * side**2 * samples + 40 * grid**3 + 48 * levels * entries"
    )

    def __init__(
        self,
        rng: torch.Generator,
        *,
        levels: Count = 8,
        coarsest: Count = 16,
        finest: Count = 64,
        entries: Count = 1 << 15,
        hidden: Count = 64,
        layers: Count = 1,
        coarse: Count = 4,
        levels_from: Share = 0.0,
        levels_until: Share = 0.3,
        lr: Ramp = Ramp(1e-2, 2e-3, shape="exp"),
        lr_net: Ramp = Ramp(5e-3, 1e-3, shape="exp"),
        backend: Literal["auto", "numba", "torch", "cuda"] = "auto",
        **volume,
    ):
        super().__init__(rng, **volume)
        if finest < coarsest:
            raise Mistake(f"the finest level has {finest} cells a side, the coarsest {coarsest}", where="renderer.finest",
                          fix=f"renderer.finest={16 * coarsest}")  # fmt: skip
        self.resolutions = spread(coarsest, finest, levels)
        self.entries, self.lr, self.lr_net, self.backend = entries, lr, lr_net, backend
        self.coarse, self.levels_from, self.levels_until = min(coarse, levels), levels_from, levels_until
        self.first = rows(self.resolutions, entries)
        self.table = nn.Parameter(2e-4 * torch.rand(self.first[-1], 2, generator=rng) - 1e-4)
        self.net = MLP(rng, 2 * levels, hidden, layers, 1 + (self.channels or 3))
        self.register_buffer("shown", torch.tensor(self.coarse))  # levels that count, as of the last step

    @property
    def about(self) -> str:
        name, why = self._backend()
        return f"{len(self.table)} entries on {name}: {why}"

    def _backend(self) -> tuple[str, str]:
        """The kernel, and why it is this one."""
        return kernel(self.table.device.type, self.table.dtype == torch.float32, self.backend, hash_cuda.trouble)

    def at(self, x: Float[Tensor, "N 3"], now: Step | None) -> tuple[Float[Tensor, " N"], Float[Tensor, "N K"]]:
        depth, encode = self._depth(now), BACKENDS[self._backend()[0]].encode
        features = encode(x / 2 + 0.5, self.table[: self.first[depth]], self.resolutions[:depth], self.entries)
        out = self.net(nn.functional.pad(features, (0, 2 * (len(self.resolutions) - depth))))
        return self.parted(out)

    def _depth(self, now: Step | None) -> int:
        """How many levels count."""
        if now is not None and self.training:
            share = 1.0
            if now.progress < self.levels_until:
                share = max(now.progress - self.levels_from, 0.0) / max(self.levels_until - self.levels_from, 1e-9)
            self.shown.clamp_(min=self.coarse + int(min(share, 1.0) * (len(self.resolutions) - self.coarse)))
        return int(self.shown)

    def rates(self, now: Step) -> list[Group]:
        own = [Group("table", self.table, at(self.lr, now))]
        return own + [Group(f"net.{name}", p, at(self.lr_net, now)) for name, p in self.net.named_parameters()]

    def init_from(self, data: Points | Mesh | Field) -> None:
        self.shown.fill_(len(self.resolutions))
        super().init_from(data)


def spread(coarsest: int, finest: int, levels: int) -> tuple[int, ...]:
    """Cells a side of every level, in even ratios."""
    ratio = (finest / coarsest) ** (1 / max(levels - 1, 1))
    return tuple(round(coarsest * ratio**level) for level in range(levels))
