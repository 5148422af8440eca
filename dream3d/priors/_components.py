"""Pictures with transparency as the components of a mixture, over any background colour, without ever compositing them.

A picture is premultiplied rgb P and gap A = 1 - alpha; over a colour b it is I = P + A b, and x = 2 I - 1. Component k
is N(x_k, h_k^2 I + U_k U_k^T), its tangents U_k (R of them, often none) being differences of pictures, so composites 2
(dP + dA b) themselves. Noisy, with V^2 = alpha^2 h^2 + sigma^2 and r = z - alpha x_k, the matrix V^2 I + alpha^2 U U^T
is inverted by Woodbury: (r - alpha^2 U c) / V^2 with c = (V^2 I + alpha^2 U^T U)^-1 U^T r. All that needs the pixels
are the inner products of y = (z + alpha) / 2 with P and A: two matrix products serve any background, two more bring the
answer back.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dream3d.priors._products import dots, mixed

NEGLIGIBLE = 1e-12  # responsibilities below this leave no trace in single precision


@dataclass(frozen=True)
class Components:
    """K pictures with R tangents each, M = K (1 + R) rows: a picture, then its tangents. D = 3 d, channels first.

    Grams are inner products within a component (double precision: distances are small differences of them). `weight` is
    not normalised; `outward` is the unit vector towards the camera, `word` its place in cameras.VIEW_WORDS, `std` is h.
    """

    rgb: Float[Tensor, "M D"]
    gap: Float[Tensor, "M d"]
    gram: Float[Tensor, "K 5 m m"]  # P.P, then A.A, then P_c.A + A.P_c for the three channels
    weight: Float[Tensor, " K"]
    outward: Float[Tensor, "K 3"]
    word: Int[Tensor, " K"]
    std: Float[Tensor, " K"]

    def __len__(self) -> int:
        return len(self.weight)

    @staticmethod
    def make(
        rgb: Float[Tensor, "K m 3 d"],
        gap: Float[Tensor, "K m d"],
        *,
        weight: Float[Tensor, " K"],
        outward: Float[Tensor, "K 3"],
        word: Int[Tensor, " K"],
        std: float,
    ) -> "Components":
        """From pictures and tangents (m = 1 + R per component)."""
        gram = torch.cat([_gram(rgb[i : i + 64].double(), gap[i : i + 64].double()) for i in range(0, len(rgb), 64)])
        widths = torch.full_like(weight, std)
        return Components(rgb.flatten(0, 1).flatten(1), gap.flatten(0, 1), gram, weight, outward, word, widths)

    def to(self, device: torch.device) -> "Components":
        return Components(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))

    def inner(
        self, y: Float[Tensor, "Q 3 d"], colour: Float[Tensor, "Q 3"], asked: Bool[Tensor, "Q K"] | None = None
    ) -> Float[Tensor, "Q K m"]:
        """Products of y with pictures and tangents over a colour per row; of components that are not asked for they may be 0."""
        wanted = None if asked is None else asked.repeat_interleave(self.gram.shape[-1], 1)
        products = dots(self.rgb, y.flatten(1), wanted) + dots(self.gap, torch.einsum("qcd,qc->qd", y, colour), wanted)
        return products.double().view(len(y), len(self), -1)

    def over(self, colour: Float[Tensor, "Q 3"]) -> Float[Tensor, "Q K m m"]:
        """The Gram matrices of pictures and tangents over a colour per row."""
        b = colour.double()
        factors = torch.cat([torch.ones_like(b[:, :1]), b.square().sum(1, keepdim=True), b], 1)
        return torch.einsum("qf,kfij->qkij", factors, self.gram)

    def log_density(
        self,
        inner: Float[Tensor, "Q K m"],
        gram: Float[Tensor, "Q K m m"],
        square: Float[Tensor, " Q"],
        pixels: int,
        alpha: Float[Tensor, " Q"],
        variance: Float[Tensor, "Q K"],
    ) -> tuple[Float[Tensor, "Q K"], Float[Tensor, "Q K R"]]:
        """log N(z; alpha x_k, V^2 I + alpha^2 U U^T) up to a constant, and the tangents' coefficients c. `square` is
        |y|^2."""
        a = alpha.double()[:, None]
        distance = 4 * (square[:, None] - 2 * a * inner[..., 0] + a**2 * gram[..., 0, 0])
        along = 4 * (inner[..., 1:] - a[..., None] * gram[..., 1:, 0])
        if not along.shape[-1]:
            return -0.5 * (distance / variance + pixels * variance.log()), along
        matrix = 4 * (a**2)[..., None, None] * gram[..., 1:, 1:] + torch.diag_embed(
            variance[..., None].expand_as(along)
        )
        factor = torch.linalg.cholesky(matrix)
        c = torch.cholesky_solve(along[..., None], factor)[..., 0]
        volume = (pixels - along.shape[-1]) * variance.log() + 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * ((distance - a**2 * (along * c).sum(-1)) / variance + volume), c

    def combine(self, coefficients: Float[Tensor, "Q K m"], colour: Float[Tensor, "Q 3"]) -> Float[Tensor, "Q 3 d"]:
        """The sum of pictures and tangents over a colour, with a coefficient each; all-but-zero ones are not read."""
        size = coefficients[..., :1].abs()
        weights = coefficients.where(size > NEGLIGIBLE * size.amax(1, keepdim=True), 0).float().flatten(1)
        return mixed(weights, self.rgb).unflatten(1, (3, -1)) + torch.einsum("qd,qc->qcd", mixed(weights, self.gap), colour)


def _gram(rgb: Float[Tensor, "K m 3 d"], gap: Float[Tensor, "K m d"]) -> Float[Tensor, "K 5 m m"]:
    pa = torch.einsum("kicd,kjd->kcij", rgb, gap)
    pp, aa = torch.einsum("kicd,kjcd->kij", rgb, rgb), torch.einsum("kid,kjd->kij", gap, gap)
    return torch.cat([pp[:, None], aa[:, None], pa + pa.mT], 1)


def loo_likelihood(parts: Components, queries: Int[Tensor, " Q"]):
    """The mean log-likelihood of some pictures (over mid-grey) under all others, as a function of the bandwidth h."""
    m, colour = parts.gram.shape[-1], torch.full((len(queries), 3), 0.5, device=parts.rgb.device)
    y = parts.rgb[queries * m].unflatten(1, (3, -1)) + parts.gap[queries * m][:, None] * colour[..., None]
    gram, square, pixels = parts.over(colour[:1]), y.double().square().sum((1, 2)), y[0].numel()
    inner, ones = parts.inner(y, colour), torch.ones_like(square)
    others = parts.weight.double().log().repeat(len(queries), 1)
    others[torch.arange(len(queries)), queries] = -torch.inf

    def mean_log_likelihood(h: float) -> float:
        variance = torch.full_like(others, h**2)
        density, _ = parts.log_density(inner, gram.expand(len(y), -1, -1, -1), square, pixels, ones, variance)
        return torch.logsumexp(density + others, 1).mean().item()

    return mean_log_likelihood


def loo_bandwidth(parts: Components, *, queries: int = 128, low: float = 0.005, high: float = 1.0) -> float:
    """The h in [low, high] under which pictures are likeliest given the others, by golden section over log h."""
    chosen = torch.linspace(0, len(parts) - 1, min(queries, len(parts)), device=parts.rgb.device).round().long()
    return golden(loo_likelihood(parts, chosen), low, high)


def golden(f, low: float, high: float, *, steps: int = 28) -> float:
    """The maximum of a unimodal function of a positive number, to (high / low)^(0.618^steps)."""
    a, b, ratio = math.log(low), math.log(high), (5**0.5 - 1) / 2
    c, d = b - ratio * (b - a), a + ratio * (b - a)
    fc, fd = f(math.exp(c)), f(math.exp(d))
    for _ in range(steps):
        if fc > fd:
            b, d, fd = d, c, fc
            c = b - ratio * (b - a)
            fc = f(math.exp(c))
        else:
            a, c, fc = c, d, fd
            d = a + ratio * (b - a)
            fd = f(math.exp(d))
    return math.exp((a + b) / 2)
