"""The exact score of a smoothed empirical mixture of toybox renders: a diffusion model without training, pixels in [-1,
1].

eps = sigma sum_k rho_k (z - alpha x_k) / V_k^2 over all renders x_k that a text row means (Gaussian kernels; Parzen
1962, and for diffusion Karras et al. 2022, arXiv:2206.00364, app. B.3), with the noise table of Stable Diffusion. It is
an oracle and a toy: see docs/exact-prior.md for what it can and cannot show. `python -m dream3d.priors.exact "a red
car"` prints its measures.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d.cameras import VIEW_WORDS
from dream3d.claims import offered
from dream3d.errors import Mistake
from dream3d.interfaces import Prior, Spec, freeze
from dream3d.priors import _renders
from dream3d.priors._components import Components
from dream3d.priors._noise import look_up, scaled_linear
from dream3d.priors._residual import Residual
from dream3d.schedule import Count, Positive
from dream3d.toybox.language import Wish, parse
from dream3d.types import Cameras, Embedding, Render

ROWS = 32  # evaluated together: bounds memory


@dataclass(frozen=True)
class _Noisy:
    """Q rows of a batch in the precision their distances need: y = (z + alpha) / 2 and its square, noise level,
    background."""

    y: Float[Tensor, "Q 3 d"]
    square: Float[Tensor, " Q"]
    alpha: Float[Tensor, " Q"]
    sigma: Float[Tensor, " Q"]
    colour: Float[Tensor, "Q 3"]


class Exact(Prior):
    """Text chooses renders: "a red car, side view" those from the side, "a red car" all of them by how often each side
    is due, and "" everything that this prior was asked for and a broad sample of the world besides, each render equally
    likely.

    size: pixels; instances, renders: objects behind one prompt, pictures of them per view word; others: the broad
    sample; bandwidth: h in units of x (None: by leave-one-out likelihood, per prompt); tangents: directions in which
    kernels are wider, of azimuth, elevation, size, brightness; camera: width in degrees of a kernel around each view's
    own direction (None: views know only their words; cameras that are not given count as unknown); unknown: what to do
    with words outside the vocabulary; shows: colours over render.extras["background"], else over white, or world normals as colours over
    grey, for terms that see "normal". Objects are rendered at the first evaluation.

    What "" and a view word alone answer depends on which prompts were asked for before, as a set, and in its last bits
    on the order in which each was first asked for; on nothing else: not how often, nor what was evaluated in between.
    To continue a run bit for bit, ask a new instance for the same prompts in the same order before evaluating.
    """

    vocabulary: ClassVar[str] = "dream3d.toybox.language"
    memory: ClassVar[str] = (
        "16 * size**2 * (1 + tangents) * (4 * renders * prompts + others + 1.5 * max(4 * renders, others))"
    )

    offers: ClassVar[dict[str, str]] = {"student": "True", "camera": "camera"}

    def __init__(
        self,
        *,
        size: Count = 64,
        instances: Count = 4,
        renders: Count = 800,
        others: Count = 2000,
        bandwidth: Positive | None = None,
        tangents: Literal[0, 1, 2, 3, 4] = 0,
        camera: Positive | None = None,
        unknown: Literal["stop", "ignore"] = "stop",
        shows: Literal["rgb", "normal"] = "rgb",
    ):
        super().__init__()
        self.instances, self.renders, self.others = instances, renders, others
        self.bandwidth, self.tangents, self.camera, self.unknown, self.shows = bandwidth, tangents, camera, unknown, shows
        self.spec = Spec(size, capabilities=offered(self.offers, {"camera": camera}))
        self.register_buffer("table", scaled_linear(), persistent=False)
        self.rows: list[Wish] = []
        self.libraries: dict[Wish, Components | None] = {
            Wish(): None
        }  # by what is wished, seen from anywhere; None: not yet drawn
        freeze(self)

    def text(self, prompts: list[str]) -> Embedding:
        """Rows of two tokens (index into what was asked for so far, its weight). Raises Mistake for words the toybox does
        not know."""
        wishes = [parse(prompt, unknown=self.unknown) for prompt in prompts]
        for wish in wishes:
            if wish not in self.rows:
                self.rows.append(wish)
            self.libraries.setdefault(_bare(wish), None)
        index = torch.tensor([self.rows.index(wish) for wish in wishes], device=self.table.device).float()
        whole = torch.tensor([1.0, 0.0], device=self.table.device).expand(len(index), 2)
        return Embedding(torch.stack([index[:, None].expand(-1, 2), whole], -1))

    def blend(self, one: Embedding, other: Embedding, share: Float[Tensor, " B"]) -> Embedding:
        """The mixture of what two rows mean, `share` of it the other's: not a row between their names."""
        weight = torch.stack([1 - share, share], -1).to(one.tokens)
        return Embedding(torch.stack([torch.stack([one.tokens[:, 0, 0], other.tokens[:, 0, 0]], -1), weight], -1))

    def alpha_sigma(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        return look_up(self.table, t)

    def prepare(self) -> None:
        """Draw what was asked for and is not there yet. Called by `eps`; by hand where its seconds should not count."""
        for wish, parts in self.libraries.items():
            self.libraries[wish] = (self._draw(wish) if parts is None else parts).to(self.table.device)

    def _draw(self, wish: Wish) -> Components:
        own = {"size": self.spec.size, "tangents": self.tangents, "shows": self.shows, "bandwidth": self.bandwidth}
        if wish.things:
            return _renders.wished(wish, instances=self.instances, renders=self.renders, **own)
        return _renders.anything(renders=self.others, **own)

    def eps(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """The exact E[eps | z] of the mixture, float32; differentiable in x."""
        answers = []
        for rows in torch.arange(len(x), device=x.device).split(ROWS):
            noisy, logits, shifts = self._weigh(*_rows(rows, x, t, text, cameras, render))
            answers.append(self._answer(noisy, logits, shifts))
        return torch.cat(answers).view_as(x)

    @torch.no_grad()
    def responsibilities(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B K"]:
        """rho: how probable each render is behind a noisy x; libraries in the order of `libraries`."""
        _, logits, _ = self._weigh(x, t, text, cameras, render)
        absent = [torch.full((len(x), len(parts)), -torch.inf, device=x.device) for parts in self.libraries.values()]
        rows = [logits.get(wish, none) for wish, none in zip(self.libraries, absent, strict=True)]
        return torch.softmax(torch.cat(rows, 1), 1)

    def _weigh(self, x, t, text: Embedding, cameras: Cameras | None, render: Render | None):
        """Per library in use: unnormalised log rho (Q K) and the tangents' coefficients (Q K R)."""
        self.prepare()
        said = [[(self.rows[int(i)], w) for i, w in row if w > 0] for row in text.tokens.tolist()]
        noisy = self._noisy(x, t, render)
        logits, shifts = {}, {}
        for wish, prior in self._chosen(said).items():
            if prior.isfinite().any():
                parts = self.libraries[wish]
                if self.camera is not None and cameras is not None:
                    prior = prior + _kernel(parts, cameras, self.camera)
                inner, gram = parts.inner(noisy.y, noisy.colour, prior.isfinite()), parts.over(noisy.colour)
                scale = (noisy.alpha, _variance(parts, noisy))
                density, shifts[wish] = parts.log_density(inner, gram, noisy.square, x[0].numel(), *scale)
                logits[wish] = density + prior
        return noisy, logits, shifts

    def _chosen(self, said: list[list[tuple[Wish, float]]]) -> dict[Wish, Float[Tensor, "Q _"]]:
        """log pi per library and row, each row one wish or a blend of two."""
        each = {
            wish: torch.stack([self._log_blend(parts, wish, row) for row in said])
            for wish, parts in self.libraries.items()
        }
        if not torch.cat(list(each.values()), 1).isfinite().any(1).all():
            raise Mistake(f"among {self.others} other renders none is seen from that side", fix="raise prior.others")
        return each

    def _log_blend(self, parts: Components, library: Wish, said: list[tuple[Wish, float]]) -> Float[Tensor, " K"]:
        if len(said) == 1:
            return _log_weights(parts, library, said[0][0])
        totals = [sum(_log_weights(p, w, row).exp().sum() for w, p in self.libraries.items()) for row, _ in said]
        shares = (w * _log_weights(parts, library, row).exp() / n for (row, w), n in zip(said, totals, strict=True))
        return sum(shares).log()

    def _noisy(self, x: Tensor, t: Tensor, render: Render | None) -> _Noisy:
        alpha, sigma = self.alpha_sigma(t.float())
        y = (x.float().flatten(2) + alpha[:, None, None]) / 2
        known = render is not None and "background" in render.extras and self.shows == "rgb"
        plain = torch.full((len(x), 3), 1.0 if self.shows == "rgb" else 0.5, device=x.device)
        colour = render.extras["background"].float() if known else plain
        return _Noisy(y, y.double().square().sum((1, 2)), alpha, sigma, colour)

    def _answer(self, noisy: _Noisy, logits, shifts) -> Float[Tensor, "Q 3 d"]:
        """sigma sum_k rho_k (z - alpha x_k - alpha^2 U_k c_k) / V_k^2: nothing is divided by sigma, so small t is
        harmless."""
        norm = torch.logsumexp(torch.cat(list(logits.values()), 1), 1, keepdim=True)
        alpha = noisy.alpha.double()[:, None]
        total, mass = torch.zeros_like(noisy.y), torch.zeros_like(alpha)
        for wish, logit in logits.items():
            parts = self.libraries[wish]
            inverse = (logit - norm).exp() / _variance(parts, noisy)
            mass += inverse.sum(1, keepdim=True)
            a = alpha[..., None].expand(*inverse.shape, 1)
            coefficients = torch.cat([a, a**2 * shifts[wish]], -1)
            total += parts.combine(inverse[..., None] * coefficients, noisy.colour)
        return 2 * noisy.sigma[:, None, None] * (mass.float()[..., None] * noisy.y - total)

    def student(self, *, rank: int = 4) -> nn.Module:
        """The exact eps plus a small network that knows time and camera and answers zero at first; 8 rank channels
        wide."""
        return Residual(self, channels=8 * rank)


def _bare(wish: Wish) -> Wish:
    return Wish(wish.things, wish.relation)


def _rows(index: Int[Tensor, " Q"], x, t, text: Embedding, cameras: Cameras | None, render: Render | None):
    return x[index], t[index], text.at(index), cameras and cameras.at(index), render and render.at(index)


def _variance(parts: Components, noisy: _Noisy) -> Float[Tensor, "Q K"]:
    return noisy.alpha.double()[:, None] ** 2 * parts.std.double() ** 2 + noisy.sigma.double()[:, None] ** 2


def _log_weights(parts: Components, library: Wish, row: Wish) -> Float[Tensor, " K"]:
    """log of the weights of a library's renders under a text row; -inf for those it does not mean."""
    weight = parts.weight.double()
    if row.things and library != _bare(row):
        weight = torch.zeros_like(weight)
    if row.view is not None:
        weight = torch.where(parts.word == VIEW_WORDS.index(row.view), weight, 0)
    return weight.log()


def _kernel(parts: Components, cameras: Cameras, width: float) -> Float[Tensor, "Q K"]:
    """log of a Gaussian kernel, `width` degrees wide, in the angle between a view's direction and the renders'."""
    outward = nn.functional.normalize(cameras.centre, dim=1).to(parts.outward)
    angle = 2 * torch.asin((torch.cdist(outward, parts.outward) / 2).clamp(max=1))
    return -0.5 * (torch.rad2deg(angle).double() / width) ** 2


if __name__ == "__main__":
    from dream3d.priors._report import main

    main()
