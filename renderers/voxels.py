"""A dense grid of density and colour (or latents), trilinear: what Plenoxels (arXiv:2112.05131) call degree 0, as Vox-E, SJC's voxel NeRF
(arXiv:2212.00774) and latent grids use it."""

import torch
from dream3d.renderers import _fields, _handing
from dream3d.renderers._volume import Volume
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.interfaces import Group, Representation
from dream3d.schedule import Count, Ramp, at
from dream3d.types import Field, Mesh, Points, Step


class Voxels(Volume, Representation):
    """resolution: nodes a side; lr_geometry of raw density (or of distance, in steps of 2 cm), lr_colour of colour before its sigmoid."""

    def __init__(
        self,
        rng: torch.Generator,
        *,
        resolution: Count = 64,
        lr_geometry: Ramp = Ramp(0.3, 0.05, shape="exp"),
        lr_colour: Ramp = Ramp(0.1, 0.02, shape="exp"),
        **volume,
    ):
        super().__init__(rng, **volume)
        self.lr_geometry, self.lr_colour = lr_geometry, lr_colour
        side = (resolution,) * 3
        self.geometry_grid = nn.Parameter(torch.zeros(1, 1, *side))
        self.colour_grid = nn.Parameter(0.1 * torch.randn(1, self.channels or 3, *side, generator=rng))

    def at(self, x: Float[Tensor, "N 3"], now: Step | None) -> tuple[Float[Tensor, " N"], Float[Tensor, "N K"]]:
        return _fields.trilinear(self.geometry_grid, x)[:, 0], _fields.trilinear(self.colour_grid, x)

    def grids(self) -> dict[str, Tensor]:
        return {"geometry": self.geometry_grid, "colour": self.colour_grid}

    def rates(self, now: Step) -> list[Group]:
        return [Group("geometry_grid", self.geometry_grid, at(self.lr_geometry, now)),
                Group("colour_grid", self.colour_grid, at(self.lr_colour, now))]  # fmt: skip

    def init_from(self, data: Points | Mesh | Field) -> None:
        """Read off at the nodes: nothing has to be fitted."""
        side = self.geometry_grid.shape[-1]
        with torch.no_grad():
            x = _fields.nodes(side, self.bound, self.width.device)
            raw, colour = _handing.wanted(self, _handing.taken(self, data), x)
            self.geometry_grid.copy_(raw.view_as(self.geometry_grid))
            self.colour_grid.copy_(colour.T.reshape(self.colour_grid.shape))
        self.density.fill_(torch.inf)
