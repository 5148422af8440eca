"""Penalties: scalars of the scene that are no pixel's business. Every function here is a key of `penalties`, its value the weight.

A penalty gets the scene and its (uncut) render; renderers name what they offer in `render.extras`. Penalties are sums over
primitives or pixels and means over views, as the gradients of guidances are: a weight means the same for a small and a large scene.
"""

from jaxtyping import Float
from torch import Tensor

from dream3d.errors import Mistake
from dream3d.interfaces import Representation
from dream3d.schedule import Ramp, at
from dream3d.types import Render, Step


def _extra(render: Render, name: str, penalty: str) -> Tensor:
    if name not in render.extras:
        raise Mistake(
            f"penalty {penalty!r} needs {name!r}, which this renderer does not offer",
            near=", ".join(sorted(render.extras)),
            fix=f"remove penalties.{penalty}",
        )
    return render.extras[name]


def opacity(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum of the opacities of the primitives: what no view needs fades and is pruned."""
    return _extra(render, "opacity", "opacity").sum()


def scale(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum of each primitive's largest standard deviation, in metres: no balloons."""
    return _extra(render, "scale", "scale").amax(-1).sum()


def flatness(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum of each primitive's smallest standard deviation, in metres: surfels rather than blobs (PhysGaussian, SuGaR)."""
    return _extra(render, "scale", "flatness").amin(-1).sum()


def opaque(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over pixels of the binary entropy of alpha, in nats: every pixel is either object or background (threestudio's lambda_opaque)."""
    a = render.alpha.clamp(1e-3, 1 - 1e-3)
    return -(a * a.log() + (1 - a) * (1 - a).log()).sum() / len(render)


def sparsity(scene: Representation, render: Render) -> Float[Tensor, ""]:
    """Sum over pixels of sqrt(alpha^2 + 0.01): empty space stays empty (threestudio's lambda_sparsity)."""
    return (render.alpha**2 + 0.01).sqrt().sum() / len(render)


class Penalties:
    """The weighted sum of the configured penalties, or None where there are none."""

    def __init__(self, weights: dict[str, Ramp]):
        self.terms = [(globals()[name], weight) for name, weight in weights.items()]

    def __call__(self, scene: Representation, render: Render, now: Step) -> Float[Tensor, ""] | None:
        values = [at(weight, now) * penalty(scene, render) for penalty, weight in self.terms]
        return sum(values) if values else None
