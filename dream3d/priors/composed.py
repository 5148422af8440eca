"""Several priors as one: sum_i w_i eps_i, a product of experts, regions of the picture for each, or superposition by their densities.

sum: eps = sum_i w_i eps_i / sum_i w_i, a mixture of opinions. product: eps = eps_1 + sum_(i>1) w_i (eps_i - eps_i of ""), the score of
p_1 prod_i (p_i / p_i(""))^w_i (Liu et al. 2022, arXiv:2206.01714, eq. 11, across models). regions: prior i where the render shows object
i, the first elsewhere. superposition: weights softmax(log w_i + log p_i(z)), the exact score of the mixture of the noisy densities (Skreta
et al. 2024, arXiv:2412.17762), for priors that know their density.
"""

import dataclasses
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dream3d import build
from dream3d.claims import offered
from dream3d.errors import Mistake, choices
from dream3d.interfaces import Prior, freeze
from dream3d.priors._residual import Residual
from dream3d.schedule import NonNegative
from dream3d.types import Cameras, Embedding, Render


class Composed(Prior):
    """priors: each with its `type` and settings; how: as above; weights: one per prior, 1 where none are given. All must agree on what x
    is: its size, channels and space, views and frames, and on alpha and sigma."""

    offers: ClassVar[dict[str, str]] = {"student": "True"}

    def __init__(
        self,
        *,
        priors: list[dict[str, Any]],
        how: Literal["sum", "product", "regions", "superposition"] = "sum",
        weights: list[NonNegative] | None = None,
    ):
        super().__init__()
        self.how, self.asked = how, []
        self.weights = list(weights or [1.0] * len(priors))
        if len(priors) < 2 or len(self.weights) != len(priors) or self.weights[0] == 0:
            raise Mistake(f"{len(priors)} priors and {len(self.weights)} weights, the first {self.weights[:1]}, do not make one",
                          where="prior.priors", near="priors: [{type: exact}, {type: exact_joint}], weights: [1, 0.5]")  # fmt: skip
        self.parts = nn.ModuleList(_part(i, settings) for i, settings in enumerate(priors))
        self.spec = type(self.parts[0].spec)(**{**vars(self.parts[0].spec), "capabilities": offered(self.offers, {})})
        self._check()
        freeze(self)

    def _check(self) -> None:
        t = torch.tensor([0.1, 0.5, 0.9])
        for i, part in enumerate(self.parts):
            for key in ("size", "channels", "space", "views", "frames"):
                if (ours := getattr(self.spec, key)) != (theirs := getattr(part.spec, key)):
                    raise Mistake(f"priors 0 and {i} do not agree on {key}: {ours} and {theirs}", where=f"prior.priors.{i}",
                                  fix="priors of the same kind, or two terms in guidance")  # fmt: skip
            if not torch.allclose(part.alpha_sigma(t)[0], self.parts[0].alpha_sigma(t)[0], atol=1e-3):
                raise Mistake(f"priors 0 and {i} do not agree on how noisy t = 0.5 is", where=f"prior.priors.{i}",
                              fix="two terms in guidance")  # fmt: skip
            if self.how == "superposition" and "density" not in part.spec.capabilities:
                raise Mistake(f"prior {i} does not know its density", where="prior.how", near="sum, product, regions")

    def text(self, prompts: list[str]) -> Embedding:
        """Rows that are numbers: of what each part was asked for so far. Where parts see a picture, `image` says whether a row does."""
        self.asked += [prompt for prompt in dict.fromkeys(["", *prompts]) if prompt not in self.asked]
        self.known = [part.text(self.asked) for part in self.parts]
        index = torch.tensor([self.asked.index(prompt) for prompt in prompts], device=self.known[0].tokens.device)
        pictured = any(known.image is not None for known in self.known)
        return Embedding(index.float()[:, None, None], image=torch.ones(len(index), 1, 1, device=index.device) if pictured else None)

    def _told(self, rows: Int[Tensor, " B"], image: Float[Tensor, "B 1 1"] | None) -> list[Embedding]:
        """What each part hears of some rows, without its picture where `image` is 0."""
        told = [known.at(rows) for known in self.known]
        return [row if row.image is None or image is None else dataclasses.replace(row, image=row.image * image) for row in told]

    def blend(self, one: Embedding, other: Embedding, share: Float[Tensor, " B"]) -> Embedding:
        raise Mistake("a composed prior does not blend texts", where="text.blend", fix="text.blend=false")

    def alpha_sigma(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        return self.parts[0].alpha_sigma(t)

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        return self.parts[0].encode(image)

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W K"]:
        return self.parts[0].decode(x)

    def student(self, *, rank: int = 4) -> nn.Module:
        """The composed eps plus a small network that answers zero at first: its parts may be of different kinds."""
        return Residual(self, channels=8 * rank)

    def eps(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        rows = text.tokens[:, 0, 0].long()
        told = self._told(rows, text.image)
        each = torch.stack([part.eps(x, t, row, cameras, render) for part, row in zip(self.parts, told, strict=True)])
        return getattr(self, f"_{self.how}")(each, x, t, told, cameras, render)

    def _sum(self, each: Float[Tensor, "P B C h w"], *others) -> Float[Tensor, "B C h w"]:
        weights = each.new_tensor(self.weights)
        return torch.einsum("p,pbchw->bchw", weights / weights.sum(), each)

    def _product(self, each, x, t, told, cameras, render) -> Float[Tensor, "B C h w"]:
        empty = torch.zeros(len(x), dtype=torch.long, device=x.device)  # "" was asked for first
        rows = self._told(empty, x.new_zeros(len(x), 1, 1))[1:]
        free = [part.eps(x, t, row, cameras, render) for part, row in zip(self.parts[1:], rows, strict=True)]
        return each[0] + sum(w * (eps - none) for w, eps, none in zip(self.weights[1:], each[1:], free, strict=True))

    def _regions(self, each, x, t, told, cameras, render) -> Float[Tensor, "B C h w"]:
        if render is None or render.labels is None or render.labels.shape[-1] - 1 > len(self.parts):
            count = 0 if render is None or render.labels is None else render.labels.shape[-1] - 1
            raise Mistake(f"{len(self.parts)} priors, but the scene has {count} labelled objects", where="prior.priors",
                          near=choices("", ["renderer.halves=above"]), fix="one prior per object, in the order of labels")  # fmt: skip
        shown = F.interpolate(render.labels.movedim(-1, 1), x.shape[-2:], mode="area")
        share = x.new_zeros(len(self.parts), len(x), 1, *x.shape[-2:])
        share[: shown.shape[1] - 1] = shown[:, :-1].movedim(1, 0)[:, :, None].to(x)
        share[0] += 1 - share.sum(0)
        return (share * each).sum(0)

    def _superposition(self, each, x, t, told, cameras, render) -> Float[Tensor, "B C h w"]:
        logs = torch.stack([part.log_density(x, t, row, cameras) for part, row in zip(self.parts, told, strict=True)])
        rho = torch.softmax(logs + logs.new_tensor(self.weights).log()[:, None], 0).to(each)
        return torch.einsum("pb,pbchw->bchw", rho, each)


def _part(i: int, settings: dict[str, Any]) -> Prior:
    """One of them. Raises Mistake for a setting that its type does not know."""
    where = f"prior.priors.{i}"
    found = build.signature("priors", settings.get("type", "exact"), where=where)
    if strange := sorted(set(settings) - {"type", *found.parameters}):
        raise Mistake(f"unknown key {strange[0]!r}", where=where, near=choices(strange[0], found.parameters))
    if lacks := [key for key, (_, default) in found.parameters.items() if default is build.MISSING and key not in settings]:
        raise Mistake(f"{lacks[0]} is missing", where=where, fix=f"set {lacks[0]}: VALUE there")
    try:
        return build.make("priors", {"type": "exact", **settings})
    except Mistake as mistake:
        raise mistake.completed(where=where, within=f"prior {i}: ") from None
