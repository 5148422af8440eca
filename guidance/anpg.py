"""Annealed negative prompt guidance on colour and depth at once: g = w(t) (delta_D + s (eps_hat(y) - eps_hat(empty))), where delta_D
is eps_hat(empty) for t below 0.2 and eps_hat(empty) - eps_hat(y_neg) from there on, as in nfsd.

HumanGaussian, Liu et al. 2023, arXiv:2311.17061, and the authors' code (dual-branch guidance). Colour and depth are channels of one x
(`sees: rgb+depth`) that share t; noise of all channels is independent, as theirs of the two branches is, and one evaluation of the
joint network answers for both. What differs: their skeleton condition and their matching of depth latents to the statistics of colour
latents belong to the prior; their loss halves the colour and weighs the depth by a half without halving it, which makes both gradients
the same, hence depth = 1 here; their clip of pixels runs along image rows, ours (`clip`) over channels; their network is configured
for v but read as eps, which a prior has to convert. s = 7.5 needs no conversion. Without depth channels this is nfsd.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from dream3d.guidance._rows import noise_free
from jaxtyping import Float
from torch import Tensor

from dream3d.diffusion import add_noise, draw_t, per_view, weight
from dream3d.interfaces import Guidance
from dream3d.schedule import Ramp, Share, Times, at
from dream3d.types import Step, View


@dataclass(eq=False)
class ANPG(Guidance):
    """scale, switch, t, w: as in nfsd; depth: weight of the depth channels, which are the last one of a pixel prior and the last half
    of a latent one."""

    needs: ClassVar[frozenset[str]] = frozenset({"depth"})
    _: KW_ONLY
    scale: Ramp = Ramp(7.5)
    switch: Share = 0.2
    depth: Ramp = Ramp(1.0)
    t: Times = Times(Ramp(0.02), Ramp(0.98))
    w: Literal["sds", "uniform", "fantasia3d", "x0"] = "sds"

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        t = draw_t(self.t, view.cameras, now)
        z = add_noise(self.prior, view.x, t, now.normal(*view.x.shape, device=view.x.device))
        g = noise_free(self.prior, z, t, view, at(self.scale, now), self.switch)
        g = per_view(weight(self.prior, t, self.w), z) * g
        colours = 3 if self.prior.spec.space == "pixel" else g.shape[1] // 2
        g[:, colours:] *= at(self.depth, now)
        return g
