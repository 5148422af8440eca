"""A surface of triangles that keep their topology, with colours or materials on top."""

from dream3d.renderers import _appearance
from dream3d.renderers._shading import Shading
from dream3d.renderers._skin_body import learns
from dream3d.renderers._surface import draw
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d.interfaces import Group
from dream3d.schedule import Ramp, at
from dream3d.types import Cameras, Mesh, Render, Step


class Painted(nn.Module):
    """What lies on the template's triangles, and how it is lit."""

    def __init__(self, rng, template: Mesh, *, appearance: str, texture: int, bound: float, smooth: bool, backend: str, rate: Ramp,
                 **shading):  # fmt: skip
        super().__init__()
        self.texture, self.smooth, self.backend, self.rate = texture, smooth, backend, rate
        self.shading = Shading(shading.pop("shading"), **shading)
        self.look = _appearance.appearance(appearance, rng, texture=texture, bound=bound, features=0, pbr=self.shading.pbr)
        self.look.paint(template)
        self.look.requires_grad_(learns(rate))

    @property
    def about(self) -> str:
        return "a surface on " + (self.backend if self.backend != "auto" else "numba, or torch off the CPU")

    def render(self, vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], cameras: Cameras, now: Step | None) -> Render:
        shade = self.shading.shader(self.look, vertices, faces, cameras, now)
        return draw(vertices, faces, cameras, shade, smooth=self.smooth, backend=self.backend)

    def groups(self, now: Step) -> list[Group]:
        lr = at(self.rate, now)
        if lr <= 0:
            self.look.zero_grad(set_to_none=True)
        return self.look.groups(lr) if lr > 0 else []

    def paint(self, mesh: Mesh) -> None:
        self.look.paint(mesh)
        self.look.requires_grad_(learns(self.rate))

    def handover(self, vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Mesh:
        return self.look.onto(Mesh(vertices.cpu(), faces.cpu().clone()), self.texture)

    def restore(self, state: dict[str, Tensor]) -> None:
        self.look.restore({k.removeprefix("look."): v for k, v in state.items() if k.startswith("look.")})
        self.look.requires_grad_(learns(self.rate))
