"""An estimate of what colours are without the light that fell on them: smooth shading divided out.

Light on a matt surface that nothing shades is nearly a quadratic polynomial of its normal: nine spherical harmonics (Ramamoorthi and
Hanrahan, "An Efficient Representation for Irradiance Environment Maps", SIGGRAPH 2001). Their coefficients are fitted to the brightness of
the texels, as if colours of the same hue and saturation were one paint under this light, of one strength per hue. So it is a guess: paint
that is really darker below than above is taken for shade, and shadows, gleams and coloured light stay where they are.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

PAINTS = 6  # hues told apart, at most
ROUNDS = 12  # of fitting light and paints in turn
SAMPLES = 1 << 15  # texels that are fitted to
DIM, BRIGHT = 0.35, 2.0  # what light may be divided by, of its mean
WEIGHT = torch.tensor([0.2126, 0.7152, 0.0722])  # of luminance


def delit(colour: Float[Tensor, "T 3"], normal: Float[Tensor, "T 3"]) -> Float[Tensor, "T 3"]:
    """Display sRGB of texels with these unit normals, without the light that is smooth over directions; as bright on the whole."""
    linear = _linear(colour)
    light = shading(linear, normal)
    albedo = linear / light[:, None]
    albedo = albedo * ((linear @ WEIGHT).mean() / (albedo @ WEIGHT).mean().clamp(min=1e-6))
    return _display(albedo.clamp(0, 1))


def shading(linear: Float[Tensor, "T 3"], normal: Float[Tensor, "T 3"]) -> Float[Tensor, " T"]:
    """The light that falls on each texel, 1 on the whole, in [DIM, BRIGHT]."""
    some = torch.arange(0, len(linear), max(1, len(linear) // SAMPLES))
    seen, bright, basis = linear[some].double(), (linear[some] @ WEIGHT).double(), harmonics(normal[some].double())
    paint = _paints(seen)
    count = int(paint.max()) + 1
    sure = bright > 0.02 * bright.mean()  # black tells nothing of light
    each, paint = bright[sure], paint[sure]
    basis = basis[sure]
    strength = torch.ones(count, dtype=torch.double)
    keep = 1e-3 * len(each) * torch.diag(torch.tensor([0.0] + [1.0] * 3 + [3.0] * 5, dtype=torch.double))  # few directions: plain light
    trust = torch.ones_like(each)
    light = torch.ones_like(each)
    for _ in range(ROUNDS):
        for k in range(count):
            own = paint == k
            if bool(own.any()):
                strength[k] = (each[own] / light[own]).median().clamp(min=1e-4)
        wanted = each / strength[paint]
        fit = torch.linalg.solve(basis.T @ (trust[:, None] * basis) + keep, basis.T @ (trust * wanted))
        light = (basis @ fit).clamp(min=0.05)
        off = (wanted - light).abs()
        trust = 1 / off.clamp(min=0.5 * float(off.median()) + 1e-4)
        trust = trust / trust.mean()
    scale = light.mean()
    return ((harmonics(normal).float() @ fit.float()) / scale.float()).clamp(DIM, BRIGHT)


def harmonics(n: Float[Tensor, "T 3"]) -> Float[Tensor, "T 9"]:
    """The polynomials that span real spherical harmonics up to degree 2."""
    x, y, z = n.unbind(-1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1], -1)


def _paints(linear: Float[Tensor, "n 3"]) -> Int[Tensor, " n"]:
    """To which of PAINTS hues each colour belongs: nearest means in shares of red and green, begun far apart."""
    share = linear / linear.sum(-1, keepdim=True).clamp(min=1e-4)
    centres = share.median(0).values[None]
    for _ in range(PAINTS - 1):
        far = torch.cdist(share, centres).amin(1)
        if float(far.max()) < 0.06:
            break
        centres = torch.cat([centres, share[far.argmax()][None]])
    for _ in range(8):
        own = torch.cdist(share, centres).argmin(1)
        centres = torch.stack([share[own == k].mean(0) if bool((own == k).any()) else centres[k] for k in range(len(centres))])
    return torch.cdist(share, centres).argmin(1)


def _linear(display: Float[Tensor, "T 3"]) -> Float[Tensor, "T 3"]:
    return torch.where(display <= 0.04045, display / 12.92, ((display.clamp(min=0.04) + 0.055) / 1.055) ** 2.4)


def _display(linear: Float[Tensor, "T 3"]) -> Float[Tensor, "T 3"]:
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=0.003) ** (1 / 2.4) - 0.055)
