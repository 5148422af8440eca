"""The student of a full-size network: low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685) on every attention projection, through
peft, and an embedding of the camera where a class embedding would be added. The base's weights are shared, not copied."""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.interfaces import Prior
from dream3d.types import Cameras, Embedding, Render

TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "to_k_ip", "to_v_ip",
           "to_kv")  # attention's projections; fmt: skip


class Student(nn.Module):
    """`prior.answer` with a network of its own: at first the base's answers, whose tensors it shares. rank 0: only the camera learns.
    `time` names the module whose output the camera's embedding is added to (ProlificDreamer, arXiv:2305.16213, app. C)."""

    def __init__(self, prior: Prior, base: nn.Module, *, rank: int, time: str):
        super().__init__()
        self.net = shared(base)
        if rank:
            from peft import LoraConfig, inject_adapter_in_model

            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                config = LoraConfig(r=rank, lora_alpha=rank, target_modules=projections(self.net))
                inject_adapter_in_model(config, self.net)
            for name, parameter in self.net.named_parameters():
                parameter.requires_grad_("lora_" in name)
                if "lora_" in name:
                    parameter.data = parameter.data.float()
        told = self.net.get_submodule(time)
        self.camera = CameraEmbedding(_width(told))
        told.register_forward_hook(lambda module, inputs, out: self.camera.added(out))
        object.__setattr__(self, "prior", prior)  # not a submodule: what is saved and moved is the student's alone

    def eps(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """As the prior's; without cameras the mean over them."""
        self.camera.of = cameras
        try:
            return self.prior.answer(self.net, x, t, text, cameras, render)
        finally:
            self.camera.of = None


class CameraEmbedding(nn.Module):
    """The 16 numbers of a pose, two layers, zero at first."""

    def __init__(self, width: int, hidden: int = 256):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Linear(16, hidden), nn.SiLU(), nn.Linear(hidden, width))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self.of: Cameras | None = None  # whose embedding is added in the call under way

    def added(self, out: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """A time embedding and the camera's; the same one where cameras are not known, and where rows are not one per view."""
        if self.of is None:
            return out
        pose = self.layers(self.of.to_world.flatten(1).float()).to(out.dtype)
        return out + (pose if len(pose) == len(out) else pose.unflatten(0, (len(out), -1)).mean(1))


def projections(net: nn.Module) -> list[str]:
    """The linear layers of a network's attention."""
    ends = tuple(f".{target}" for target in TARGETS)
    return [name for name, layer in net.named_modules() if isinstance(layer, nn.Linear) and name.endswith(ends)]


def shared(base: nn.Module) -> nn.Module:
    """The same network as another tree of modules over the very same tensors: what is hung into it does not touch the base."""
    tensors: dict[int, Any] = {id(v): v for v in [*base.parameters(), *base.buffers()]}
    return copy.deepcopy(base, tensors).requires_grad_(False)


def _width(told: nn.Module) -> int:
    """How wide a time embedding is: what its last layer gives."""
    return [m for m in told.modules() if isinstance(m, nn.Linear)][-1].out_features
