"""How a scene is lit while it is optimised: colours alone, a lamp, a lamp on white, or (surfaces) an environment; one of them a step, by
chance."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from dream3d.renderers import _light
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.types import Cameras, Step

Mode = Literal["albedo", "lambert", "textureless", "pbr"]
MODES = get_args(Mode)


@dataclass(frozen=True)
class Material:
    """At n places of a surface: albedo in display sRGB; roughness and metalness; what to add to the unit normal, in the world; latents."""

    rgb: Float[Tensor, "n 3"]
    rough: Float[Tensor, "n 2"] | None = None
    bump: Float[Tensor, "n 3"] | None = None
    features: Float[Tensor, "n K"] | None = None


class Shading(nn.Module):
    """`modes`: one name, or names with probabilities. Outside of optimisation a scene is shown with materials where they are learnt, else
    as its albedo, or textureless where nothing else is learnt."""

    def __init__(self, modes: Mode | dict[Mode, float], *, ambient: float, environment: str = "studio", turning: bool = False):
        super().__init__()
        chances = {modes: 1.0} if isinstance(modes, str) else dict(modes)
        if not sum(chances.values()) > 0:
            raise Mistake("one way of shading must have a probability above 0", where="renderer.shading", fix="renderer.shading=albedo")
        self.chances = {mode: chances[mode] for mode in MODES if chances.get(mode, 0) > 0}
        self.ambient, self.turning = ambient, turning
        self.sky = _light.Sky(_light.environment(environment)) if self.pbr else None

    @property
    def pbr(self) -> bool:
        return "pbr" in self.chances

    @property
    def lamp(self) -> bool:
        """Whether there ever is one."""
        return not {"lambert", "textureless"}.isdisjoint(self.chances)

    def mode(self, now: Step | None) -> Mode:
        """Which of them a step uses."""
        if now is None:
            return "pbr" if self.pbr else "textureless" if list(self.chances) == ["textureless"] else "albedo"
        marks = torch.tensor(list(self.chances.values())).cumsum(0)
        return list(self.chances)[int((now.uniform(1) * marks[-1] >= marks[:-1]).sum())]

    def shader(
        self,
        look: nn.Module,
        vertices: Float[Tensor, "V 3"],
        faces: Int[Tensor, "F 3"],
        cameras: Cameras,
        now: Step | None,
    ):
        """What `_surface.draw` asks of every hit of an Appearance. Draws its chances from the step at once."""
        mode = self.mode(now)
        lamps = _light.lamps(cameras, now) if mode in ("lambert", "textureless") else None
        turn = 2 * torch.pi * now.uniform(1).to(vertices) if mode == "pbr" and self.turning and now is not None else None
        frame = None if cameras.frame is None else F.normalize(cameras.frame[:, :3, :3], dim=1)  # its rotation

        def shade(hits) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n K"] | None]:
            found = look.at(hits.face, hits.weights, vertices, faces) if mode != "textureless" or look.features else None
            if mode == "textureless":
                white = torch.ones_like(hits.position)
                lit = _light.lambert(white, hits.normal, hits.position, lamps[hits.view], self.ambient)
                return lit, found and found.features
            if mode == "lambert":
                return _light.lambert(found.rgb, hits.normal, hits.position, lamps[hits.view], self.ambient), found.features
            if mode == "pbr":
                return self._lit(found, hits, vertices.detach()[faces[hits.face]], turn, frame), None
            return found.rgb, found.features

        return shade

    def _lit(
        self, found: Material, hits, corners: Float[Tensor, "n 3 3"], turn: Float[Tensor, "1"] | None, frame: Float[Tensor, "B 3 3"] | None
    ) -> Float[Tensor, "n 3"]:
        normal, towards = hits.normal, hits.towards
        if found.bump is not None:  # seen from behind the bumped normal is the opposite one, as in glTF: a dent is a bump
            a, b, c = corners.unbind(1)
            behind = (torch.linalg.cross(b - a, c - a) * hits.towards).sum(-1, keepdim=True) < 0
            normal = F.normalize(normal + torch.where(behind, -found.bump, found.bump), dim=-1)
        rough, metal = found.rough.split(1, -1)
        turn = None if turn is None else turn.expand(len(rough), 1)
        if frame is not None:
            normal, towards = ((frame[hits.view] @ v[..., None])[..., 0] for v in (normal, towards))
        return _light.to_display(self.sky(_light.to_linear(found.rgb), rough, metal, normal, towards, turn))
