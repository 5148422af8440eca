"""Gaussians that lie on a surface and go where it goes (as GaussianAvatars, Qian et al., arXiv:2312.02069, bind theirs to triangles).

Each has a place in a triangle that it keeps, and lives in the frame of it: an offset along the normal, a rotation, sizes that grow as the
triangle does. All triangles have theirs, by area; there is no densification.
"""

import torch
import torch.nn.functional as F
from dream3d.renderers._appearance import between
from dream3d.renderers._atlas import places
from dream3d.renderers._backends.seeds import COVER, FLAT, GREY, INSET, colours
from dream3d.renderers._skin_body import learns
from dream3d.renderers.gaussians import Gaussians
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from dream3d.interfaces import Group, learning
from dream3d.rig import kinematics
from dream3d.schedule import Ramp, at
from dream3d.types import Cameras, Mesh, Points, Render, Step

LEARNT = {"offset": "offset", "scale": "set.log_scale", "rotation": "set.rotation", "opacity": "set.logit", "colour": "set.colour"}


class Anchored(nn.Module):
    """`count` of them on the template; `set` holds them in the frames of their triangles, metres of the template."""

    def __init__(self, rng, template: Mesh, *, count: int, opacity: float, antialias: bool, backend: str, rates: dict[str, Ramp]):
        super().__init__()
        face, weights = places(template, count)
        self.register_buffer("face", face)
        self.register_buffer("weights", weights)
        corners = template.vertices[template.faces]
        area = _area(corners)
        self.register_buffer("area", area[face], persistent=False)
        wide = (COVER * area.sum() / (2 * count)).sqrt().clamp(min=1e-4)
        scale = torch.stack([wide, wide, FLAT * wide]).expand(count, 3)
        turned = torch.tensor([1.0, 0, 0, 0]).expand(count, 4)
        grey = torch.full((count, 3), GREY)
        self.set = Gaussians(rng, count=1, antialias=antialias, backend=backend, settle=0)
        self.set.init_from(Points(torch.zeros(count, 3), grey, scale, turned, torch.full((count,), opacity)))
        self.offset = nn.Parameter(torch.full((count,), -INSET * wide.item()))  # rims end where silhouettes do
        self.rates = rates
        self._hold()

    def _hold(self) -> None:
        """What does not learn takes no gradient."""
        self.set.requires_grad_(False)
        for name, path in LEARNT.items():
            self.get_parameter(path).requires_grad_(learns(self.rates[name]))

    @property
    def about(self) -> str:
        return self.set.about

    def render(self, vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"], cameras: Cameras, now: Step | None) -> Render:
        render = functional_call(self, self.placed(vertices, faces), (cameras, now))
        return Render(**render.buffers(), extras={name: render.extras[name] for name in ("opacity", "scale")})

    def forward(self, cameras: Cameras | None, now: Step | None):
        """The set, or what takes its place in a functional call, drawn; or handed over, for no cameras."""
        return self.set.handover() if cameras is None else self.set.render(cameras, now)

    def placed(self, vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> dict[str, Tensor]:
        """The set in the world, on a surface with these vertices."""
        rows = faces[self.face]
        corners = vertices.index_select(0, rows.flatten()).view(*rows.shape, 3)
        along = F.normalize(corners[:, 1] - corners[:, 0], dim=-1)
        normal = F.normalize(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), dim=-1)
        frame = torch.stack([along, torch.linalg.cross(normal, along), normal], -1)
        grown = (_area(corners) / self.area.clamp(min=1e-12)).clamp(min=1e-6).sqrt()[:, None]
        place = between(vertices, rows, self.weights) + grown * self.offset[:, None] * normal
        turned = kinematics.product(kinematics.quaternions(frame), F.normalize(self.set.rotation, dim=-1))
        return {"set.position": place, "set.rotation": turned, "set.log_scale": self.set.log_scale + grown.log()}

    def groups(self, now: Step) -> list[Group]:
        rates = at(self.rates, now)
        rows = [(path.removeprefix("set."), self.get_parameter(path), rates[name]) for name, path in LEARNT.items()]
        return learning(rows)

    def paint(self, mesh: Mesh) -> None:
        """Colours of a mesh with these triangles."""
        self.set.colour.data.copy_(colours(mesh, self.face.cpu(), self.weights.cpu()[..., None]))

    def handover(self, vertices: Float[Tensor, "V 3"], faces: Int[Tensor, "F 3"]) -> Points:
        return functional_call(self, self.placed(vertices, faces), (None, None))

    def restore(self, state: dict[str, Tensor]) -> None:
        self.set.restore({k.removeprefix("set."): v for k, v in state.items() if k.startswith("set.")})
        for name in ("face", "weights", "offset"):
            getattr(self, name).data.copy_(state[name])
        self._hold()


def _area(corners: Float[Tensor, "n 3 3"]) -> Float[Tensor, " n"]:
    """Of triangles, twice."""
    return torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).square().sum(-1).clamp(min=1e-24).sqrt()
