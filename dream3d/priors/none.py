"""No prior: for stages that ask none, such as those of the system `distil`. With it `guidance: []` is allowed."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from dream3d.errors import Mistake
from dream3d.interfaces import Prior, Spec
from dream3d.schedule import Count
from dream3d.types import Cameras, Embedding, Render


class Nothing(Prior):
    """size: the side of views where `cameras` names no resolution, in pixels. Whatever asks it is told so."""

    offers: ClassVar[dict[str, str]] = {}
    memory: ClassVar[str] = "0"

    def __init__(self, *, size: Count = 64):
        super().__init__()
        self.spec = Spec(size)

    def text(self, prompts: list[str]) -> Embedding:
        raise _nobody()

    def alpha_sigma(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        raise _nobody()

    def eps(
        self, x: Float[Tensor, "B C h w"], t: Float[Tensor, " B"], text: Embedding, cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:  # fmt: skip
        raise _nobody()

    def student(self, *, rank: int) -> nn.Module:
        raise _nobody()


def _nobody() -> Mistake:
    return Mistake("there is no prior to ask", where="prior.type", near="prior=exact", fix="name a prior, or guidance=[]")
