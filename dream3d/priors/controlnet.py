"""Any number of ControlNets (Zhang et al. 2023, arXiv:2302.05543) over Stable Diffusion or SDXL, through diffusers. What controls is drawn
from the scene itself, in every step: its depth, its normals, its edges, or a pose that the renderer draws (extras["pose"])."""

import dataclasses
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dream3d import sees
from dream3d.claims import offered
from dream3d.errors import Mistake, choices
from dream3d.interfaces import Prior, freeze
from dream3d.priors import _hub
from dream3d.priors._over import Over
from dream3d.priors._pipeline import network
from dream3d.schedule import NonNegative
from dream3d.types import Cameras, Embedding, Render


class ControlNet(Over, Prior):
    """base: what the nets were trained on; nets: what controls -> folder, alias or hub's name, {depth: ..., normal: ...}; strength: by
    the same names, 1 where none is given (stages may change it); model, size, precision and the rest: the base's."""

    offers: ClassVar[dict[str, str]] = {"student": "True", "control": "True"}

    def __init__(
        self,
        *,
        nets: dict[Literal["depth", "normal", "edge", "pose"], str],
        strength: dict[Literal["depth", "normal", "edge", "pose"], NonNegative] | None = None,
        **base,
    ):
        super().__init__(**base)
        from diffusers import ControlNetModel

        kind = self.source.dtype
        self.nets = nn.ModuleDict({what: network(ControlNetModel, _hub.locate(name, "control", f"prior.nets.{what}").path, kind)
                                   for what, name in nets.items()})  # fmt: skip
        if unknown := sorted(set(strength or {}) - set(nets)):
            raise Mistake(f"nothing is controlled by {unknown[0]}", where="prior.strength", near=choices("", list(nets)))
        self.strength = {what: (strength or {}).get(what, 1.0) for what in nets}
        for what, net in self.nets.items():
            self._check(what, net)
        self.spec = dataclasses.replace(self.base.spec, capabilities=offered(self.offers, {}))
        freeze(self)

    def _check(self, what: str, net: nn.Module) -> None:
        ours, theirs = self.net.config, net.config
        for key in ("cross_attention_dim", "block_out_channels", "in_channels"):
            if (a := theirs[key]) != (b := ours[key]) and list(a if isinstance(a, tuple | list) else [a]) != [b]:
                raise Mistake(f"this ControlNet was trained on another base: its {key} is {a}, the base's {b}",
                              where=f"prior.nets.{what}", fix="one of the same family, or another prior.model", code=3)  # fmt: skip

    def answer(
        self,
        net: nn.Module,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """eps with what every ControlNet adds to the network's skip connections; without a render no control, without cameras none by
        normals."""
        low, index = x.to(next(net.parameters()).dtype), self.table.index(t)
        inputs, more = self.inputs(low, text, cameras, render), {}
        for what, control in self.nets.items():
            if render is None or (what == "normal" and cameras is None):
                continue
            seen = drawn(what, render, self.spec.pixels, cameras).to(low)
            skips, middle = control(low, index, controlnet_cond=seen, conditioning_scale=self.strength[what], return_dict=False, **inputs)
            before = more.get("down_block_additional_residuals", [0] * len(skips))
            more["down_block_additional_residuals"] = [a + b for a, b in zip(before, skips, strict=True)]
            more["mid_block_additional_residual"] = more.get("mid_block_additional_residual", 0) + middle
        out = net(low, index, **inputs, **more).sample
        return self.table.to_eps(out.float(), x.float(), t)


@torch.no_grad()
def drawn(what: str, render: Render, side: int, cameras: Cameras | None = None) -> Float[Tensor, "B 3 h w"]:
    """A control picture in [0, 1] from the buffers of a render: depth is bright where near, edges are white, normals are as the cameras see
    them (_towards). Raises Mistake where the renderer does not draw what is needed."""
    match what:
        case "depth":
            image = sees.relative_depth(render).expand(-1, -1, -1, 3)
        case "normal" if render.normal is not None and cameras is not None:
            image = _towards(render, cameras)
        case "edge":
            image = _edges(render.rgb).expand(-1, -1, -1, 3)
        case "pose" if "pose" in render.extras:
            image = render.extras["pose"]
        case _:
            raise Mistake(f"this renderer draws no {what}", where=f"prior.nets.{what}", near=", ".join([*render.buffers(), *render.extras]))
    x = image.movedim(-1, 1).float()
    return x if x.shape[-2:] == (side, side) else F.interpolate(x, (side, side), mode="bilinear", antialias=True)


def _towards(render: Render, cameras: Cameras) -> Float[Tensor, "B H W 3"]:
    """Normals in the colours of ScanNet, as ControlNets of normals were trained on: red to the left, green up, blue towards the camera,
    which is against the camera's own three axes. What is empty faces the camera, like a wall."""
    seen = torch.einsum("bij,bhwi->bhwj", cameras.to_world[:, :3, :3].to(render.normal), render.normal)
    wall = seen.new_tensor([0.0, 0.0, -1.0]) * (1 - render.alpha)
    return (1 - seen - wall) / 2


def _edges(rgb: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B H W 1"]:
    """Canny's edges (1986) of the luminance, as ControlNets of edges were trained on."""
    from skimage.feature import canny

    grey = (rgb * rgb.new_tensor([0.299, 0.587, 0.114])).sum(-1).cpu().numpy()
    return torch.stack([torch.from_numpy(canny(image, sigma=1.0)) for image in grey])[..., None].to(rgb)
