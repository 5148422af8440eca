"""What every network of diffusers needs around it: a noise table by t in (0, 1), its own parametrisation made eps, and how it is run."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.priors._noise import look_up, to_eps

FORMS = {"epsilon": "eps", "v_prediction": "v"}


@dataclass(frozen=True)
class Knobs:
    """channels_last: memory layout for convolutions; compile: torch.compile, once, at the first call."""

    channels_last: bool = False
    compile: bool = False


def prepared(net: nn.Module, knobs: Knobs) -> nn.Module:
    """A frozen network as it is run."""
    if knobs.channels_last:
        net = net.to(memory_format=torch.channels_last)
    if knobs.compile:
        net.compile()  # in place: its modules keep their names, and students their base
    return net


class Line(nn.Module):
    """The straight line of a rectified flow: alpha = 1 - t, sigma = t, and a velocity eps - x0."""

    def __init__(self):
        super().__init__()
        self.register_buffer("here", torch.zeros(()), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.here.device

    def alpha_sigma(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        return 1 - t, t

    def to_eps(self, out: Float[Tensor, "B C h w"], z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"]) -> Float[Tensor, "B C h w"]:
        return z + (1 - t)[:, None, None, None] * out


class Table(nn.Module):
    """The noise table of a scheduler and what its network predicts. index = floor(t T); alpha and sigma are that entry's."""

    def __init__(self, scheduler):
        super().__init__()
        config = scheduler.config
        if not hasattr(scheduler, "alphas_cumprod"):
            raise Mistake(f"{type(scheduler).__name__} has no noise table", where="scheduler", fix="prior.type=flow for flows", code=3)
        if config.prediction_type not in FORMS:
            raise Mistake(f"this model predicts {config.prediction_type!r}", where="scheduler/scheduler_config.json",
                          near=", ".join(FORMS), code=3)  # fmt: skip
        self.form = FORMS[config.prediction_type]
        self.register_buffer("squared", scheduler.alphas_cumprod.double(), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.squared.device

    def index(self, t: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
        return (t * len(self.squared)).long().clamp(0, len(self.squared) - 1)

    def alpha_sigma(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        return look_up(self.squared, t)

    def to_eps(self, out: Float[Tensor, "B C h w"], z: Float[Tensor, "B C h w"], t: Float[Tensor, " B"]) -> Float[Tensor, "B C h w"]:
        """What a network answered at z, as noise."""
        alpha, sigma = (v[:, None, None, None] for v in self.alpha_sigma(t))
        return to_eps(self.form, out, z, alpha, sigma)
