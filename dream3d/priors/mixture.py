"""A mixture of Gaussians as a prior: every quantity of diffusion is known in closed form, in any precision and
parametrisation.

Data sum_k pi_k N(mu_k, S_k^2 I). With V_k^2 = alpha^2 S_k^2 + sigma^2 and responsibilities rho_k of the noisy
components N(alpha mu_k, V_k^2 I): E[eps | z] = sigma sum_k rho_k (z - alpha mu_k) / V_k^2, E[x0 | z] = sum_k rho_k
(mu_k + alpha S_k^2 (z - alpha mu_k) / V_k^2). Meant for tests of formulas and for two-minute experiments, not for
pictures.
"""

import math
import re
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d.claims import offered
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.priors._noise import look_up, scaled_linear, to_eps
from dream3d.schedule import Count, Positive, Seed
from dream3d.types import Cameras, Embedding, Render


class Mixture(Prior):
    """Gaussian mixture over x of any size. A prompt names its components by number ("0", "1 and 3"); "" is all of them.

    components, spread: how many means, drawn from N(0, spread^2) by `seed`; std: of every component; form: the
    parametrisation in which the closed form is evaluated, as a foreign network would, before it is turned into eps
    (flow: alpha = 1 - t, sigma = t; else the noise table of Stable Diffusion); subjects: how many subjects a student
    tells apart. `Mixture.of` takes tensors. A text row's tokens are the components' weights, so that rows may also be
    built by hand.
    """

    offers: ClassVar[dict[str, str]] = {"student": "True", "density": "True"}
    memory: ClassVar[str] = "4 * components * channels * size**2"

    def __init__(
        self,
        *,
        size: Count = 8,
        channels: Count = 3,
        components: Count = 4,
        spread: Positive = 1.0,
        std: Positive = 0.25,
        form: Literal["eps", "v", "flow"] = "eps",
        subjects: Count = 1,
        seed: Seed = 0,
    ):
        super().__init__()
        draw = torch.randn(components, channels, size, size, generator=torch.Generator().manual_seed(seed))
        self._set(spread * draw, torch.full((components,), std), torch.ones(components), form, subjects)

    @classmethod
    def of(
        cls,
        means: Float[Tensor, "K C h w"],
        std: float | Float[Tensor, " K"],
        *,
        weights: Float[Tensor, " K"] | None = None,
        form: Literal["eps", "v", "flow"] = "eps",
        subjects: int = 1,
    ) -> "Mixture":
        """A mixture with these means, standard deviations and (unnormalised) weights, computing in the means'
        precision."""
        prior = cls(size=1, channels=1, components=1)
        weights = means.new_ones(len(means)) if weights is None else weights
        prior._set(means, torch.as_tensor(std, dtype=means.dtype).expand(len(means)).clone(), weights, form, subjects)
        return prior

    def _set(self, means: Tensor, std: Tensor, weights: Tensor, form: str, subjects: int) -> None:
        self.form, self.subjects = form, subjects
        for name, value in (("means", means), ("std", std), ("weights", weights), ("table", scaled_linear())):
            self.register_buffer(name, value.detach().clone(), persistent=False)
        capabilities = offered(self.offers, {})
        self.spec = Spec(means.shape[-1], means.shape[1], flow=form == "flow", capabilities=capabilities)
        freeze(self)

    def text(self, prompts: list[str]) -> Embedding:
        """Rows of component weights. Raises Mistake for a prompt without a number, or with one that is too large."""
        return Embedding(torch.stack([self._row(prompt) for prompt in prompts])[:, None])

    def blend(self, one: Embedding, other: Embedding, share: Float[Tensor, " B"]) -> Embedding:
        """The mixture of two mixtures, `share` of it the other."""
        return super().blend(*(Embedding(row.tokens / row.tokens.sum(-1, keepdim=True)) for row in (one, other)), share)

    def _row(self, prompt: str) -> Float[Tensor, " K"]:
        chosen = [int(number) for number in re.findall(r"\d+", prompt)]
        if (prompt.strip() and not chosen) or any(k >= len(self.means) for k in chosen):
            fix = f'name them by number, 0 to {len(self.means) - 1}, such as "0 and 1"; "" is all'
            raise Mistake(f"the mixture has no component {prompt!r}", fix=fix)
        only = torch.zeros_like(self.weights)
        only[chosen or slice(None)] = 1
        return self.weights * only

    def alpha_sigma(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        return (1 - t, t) if self.form == "flow" else look_up(self.table, t)

    def eps(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """The exact E[eps | z], in the precision of x."""
        count = len(x)
        means, std = self.means.expand(count, *self.means.shape), self.std.expand(count, -1)
        return self.answer(x, t, text.tokens[:, 0], means, std)

    def answer(
        self,
        z: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        weights: Float[Tensor, "B K"],
        means: Float[Tensor, "B K C h w"],
        std: Float[Tensor, "B K"],
    ) -> Float[Tensor, "B C h w"]:
        """eps of a mixture given per view, by way of this prior's parametrisation."""
        alpha, sigma, off, data, variance = self._noisy(z, t, means, std)
        rho = torch.softmax(_logits(weights, off, variance), 1)[..., None, None, None]
        noise = (rho * sigma * off / variance).sum(1)
        clean = (rho * (means + alpha * data * off / variance)).sum(1)
        alpha, sigma = alpha[:, 0], sigma[:, 0]
        out = {"eps": noise, "v": alpha * noise - sigma * clean, "flow": noise - clean}[self.form]
        return to_eps(self.form, out, z, alpha, sigma)

    def log_density(
        self,
        z: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, " B"]:
        """The exact log p_t(z), the score's own density."""
        count = len(z)
        means, std = self.means.expand(count, *self.means.shape), self.std.expand(count, -1)
        return self.log_answer(z, t, text.tokens[:, 0], means, std)

    def log_answer(
        self,
        z: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        weights: Float[Tensor, "B K"],
        means: Float[Tensor, "B K C h w"],
        std: Float[Tensor, "B K"],
    ) -> Float[Tensor, " B"]:
        """log p_t(z) of a mixture given per view."""
        _, _, off, _, variance = self._noisy(z, t, means, std)
        total = weights.to(z.dtype).sum(1).log() + z[0].numel() / 2 * math.log(2 * math.pi)
        return torch.logsumexp(_logits(weights, off, variance), 1) - total

    def _noisy(self, z, t, means, std):
        """alpha, sigma, z - alpha mu, S^2 and V^2, per view and component."""
        alpha, sigma = (v.to(z.dtype)[:, None, None, None, None] for v in self.alpha_sigma(t))
        data = std[..., None, None, None] ** 2
        return alpha, sigma, z[:, None] - alpha * means, data, alpha**2 * data + sigma**2

    def student(self, *, rank: int = 4) -> nn.Module:
        """A mixture per subject with learnable means and standard deviations, at first this one: under a text row with
        one component, a learnable Gaussian. Closed forms have no rank; it is not used."""
        return Student(self)


class Student(nn.Module):
    """`Mixture.student`: moments per subject (cameras.subject) and component."""

    def __init__(self, base: Mixture):
        super().__init__()
        self.base = base
        self.means = nn.Parameter(base.means.repeat(base.subjects, 1, 1, 1, 1))
        self.log_std = nn.Parameter(base.std.log().repeat(base.subjects, 1))

    def eps(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """E[eps | z] under the learnt moments of each view's subject (0 where the cameras do not say)."""
        rows = _subjects(cameras, len(x), x.device)
        return self.base.answer(x, t, text.tokens[:, 0], self.means[rows], self.log_std[rows].exp())

    def log_density(
        self,
        z: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, " B"]:
        """log p_t(z) under the learnt moments."""
        rows = _subjects(cameras, len(z), z.device)
        return self.base.log_answer(z, t, text.tokens[:, 0], self.means[rows], self.log_std[rows].exp())


def _logits(
    weights: Float[Tensor, "B K"], off: Float[Tensor, "B K C h w"], variance: Float[Tensor, "B K 1 1 1"]
) -> Float[Tensor, "B K"]:
    """log of the components' shares of the noisy density, up to (2 pi)^(d/2)."""
    single = variance[:, :, 0, 0, 0]
    exponent = off.square().sum((2, 3, 4)) / single + off[0, 0].numel() * single.log()
    return weights.to(off.dtype).log() - exponent / 2


def _subjects(cameras: Cameras | None, count: int, device: torch.device) -> Int[Tensor, " B"]:
    known = cameras is not None and cameras.subject is not None
    return cameras.subject if known else torch.zeros(count, dtype=torch.long, device=device)
