"""The four things a contributor can write: a Prior, a Representation, a Guidance, a System. Read this page first.

Everything else in the framework is final. A new method is one file in guidance/, renderers/, dream3d/priors/ or systems/ with one
subclass in it; the file's name is its name in a configuration, and the constructor's keyword-only parameters are its settings.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dream3d.clips import MeshClip, Skin, SplatClip
from dream3d.types import Cameras, Embedding, Field, Mesh, Points, Render, Step, View


@dataclass(frozen=True)
class Spec:
    """What a prior is: x has `channels` x `size` x `size`, in space "pixel" ([-1, 1]) or "latent" (`factor` pixels a side each);
    `views` and `frames` per group; `flow` for rectified flows; `background` is the only colour it knows behind an object (None: any);
    `capabilities` name what guidances may ask for in their `needs`, such as "student", "camera", "labels"."""

    size: int
    channels: int = 3
    space: str = "pixel"
    views: int = 1
    frames: int = 1
    flow: bool = False
    background: tuple[float, float, float] | None = None
    capabilities: frozenset[str] = frozenset()
    factor: int = 1

    @property
    def pixels(self) -> int:
        """The side of the images that become x, and the side of views where a recipe names none."""
        return self.size * self.factor


class Prior(nn.Module, ABC):
    """A frozen diffusion model behind one contract, written in mathematics: z = alpha x + sigma eps. Every foreign
    parametrisation (v, x0, flow velocity, variance channels) is converted inside."""

    spec: Spec
    offers: ClassVar[dict[str, str]] = {}  # capability -> the condition on this prior's settings under which it has it
    remembers: ClassVar[bool] = True  # whether its answers may depend on what else it was asked for; if not, runs may share it
    embeds: ClassVar[bool] = False  # whether its texts pass a large network, are kept on disk, and should be many at a time
    about: str = ""  # in a few words which model in which precision, for the start of a run
    evaluations: int = 0  # network evaluations so far, one per row of text and image; diffusion.predict counts

    @abstractmethod
    def text(self, prompts: list[str]) -> Embedding:
        """One row per prompt. Raises dream3d.errors.Mistake for a prompt this prior cannot understand."""

    @abstractmethod
    def alpha_sigma(self, t: Float[Tensor, " B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """alpha and sigma at t in (0, 1): exactly the values that `eps` uses there."""

    @abstractmethod
    def eps(
        self,
        x: Float[Tensor, "B C h w"],
        t: Float[Tensor, " B"],
        text: Embedding,
        cameras: Cameras | None = None,
        render: Render | None = None,
    ) -> Float[Tensor, "B C h w"]:
        """The predicted noise in a noisy x, float32. `render` (detached) is what depth, inpainting or joint priors read."""

    @abstractmethod
    def student(self, *, rank: int) -> nn.Module:
        """A trainable copy with the same `eps` signature that equals this prior at first and shares its frozen weights. `rank` says
        how much of it learns: 0 nothing but what a camera means, where that can be told apart."""

    def blend(self, one: Embedding, other: Embedding, share: Float[Tensor, " B"]) -> Embedding:
        """Rows between two texts, `share` of the way to the other: embeddings are interpolated, and a token counts where either has
        it. A prior whose rows are not vectors overrides this."""

        def mix(a: Tensor | None, b: Tensor | None) -> Tensor | None:
            return None if a is None else torch.lerp(a, b, share.to(a).view(-1, *[1] * (a.ndim - 1)))

        mask = None if one.mask is None else one.mask | other.mask
        return Embedding(mix(one.tokens, other.tokens), mask, mix(one.pooled, other.pooled), mix(one.image, other.image))

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        """Images in [0, 1] to x, differentiable. Pixel priors resize; latent priors override with the posterior's mean."""
        x = image.movedim(-1, 1)
        if x.shape[-2:] != (self.spec.size, self.spec.size):
            x = F.interpolate(x, (self.spec.size, self.spec.size), mode="bilinear", antialias=True)
        return 2 * x - 1

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W K"]:
        """x to images, not clamped."""
        return (x.movedim(1, -1) + 1) / 2


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate at this step. The optimiser keeps their moments under `name`."""

    name: str
    tensor: Tensor
    lr: float


def learning(rows: list[tuple[str, Tensor, float]]) -> list[Group]:
    """Those of (name, tensor, learning rate) that learn at this step; what rests keeps no gradient for later."""
    for _, tensor, lr in rows:
        if lr <= 0:
            tensor.grad = None
    return [Group(name, tensor, lr) for name, tensor, lr in rows if lr > 0 and tensor.numel()]


def idle(cls: type, given: dict[str, Any], names: Iterable[str]) -> list[str]:
    """Those of the settings `names` of a class that were told something else than their default, to be said where they have no effect."""
    defaults = inspect.signature(cls.__init__).parameters
    return [name for name in names if given[name] != defaults[name].default]


class Representation(nn.Module, ABC):
    """What is optimised and how it is drawn. `about` says in a few words what draws it, for the start of a run."""

    about: str = "torch"
    offers: ClassVar[dict[str, str]] = {}  # what formulas may need of a scene, such as "labels", and under which settings
    gives: ClassVar[dict[str, str]]  # what files can hold of it besides a mesh, and under which settings (dream3d/export/fits.py)

    @abstractmethod
    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        """Every buffer this representation has, rgb premultiplied over black. `now` is None outside of optimisation."""

    @abstractmethod
    def groups(self, now: Step) -> list[Group]:
        """The tensors to optimise and their learning rates at this step."""

    @abstractmethod
    def handover(self) -> Points | Mesh | Field:
        """What the next stage starts from."""

    def clip(self, times: Float[Tensor, " T"]) -> MeshClip | SplatClip | Skin | None:
        """The same over time, for files that move; times in [0, 1], as seconds. None: it stands still, or moves as no file can."""
        return None

    def init_from(self, data: Points | Mesh | Field) -> None:
        """Start from what an earlier stage handed over. Raises Mistake where that cannot be done."""
        from dream3d.errors import Mistake

        raise Mistake(f"{type(self).__name__.lower()} cannot start from {type(data).__name__.lower()}")

    def refine(self, render: Render, optimizer, now: Step) -> None:
        """After a step: densify, prune, update occupancy. Default: nothing."""

    def state(self) -> dict[str, Tensor]:
        """Everything needed to continue bit for bit."""
        return dict(self.state_dict())

    def restore(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state`, also where the number of primitives has changed."""
        self.load_state_dict(state)


@dataclass(eq=False)
class Guidance(ABC):
    """One score-distillation formula. `needs` is checked against what prior and renderer offer before any work; `space` "pixel" hands
    `gradient` the image itself (as B C H W in [0, 1]) instead of the prior's x; `perp_neg` says whether it heeds Perp-Neg's rows. A
    formula that `edits` is shown the scene as its stage found it (View.source), and its term must say what that shows (row
    "source")."""

    prior: Prior
    needs: ClassVar[frozenset[str]] = frozenset()
    space: ClassVar[str] = "latent"
    edits: ClassVar[bool] = False
    perp_neg: ClassVar[bool] = True
    owns: ClassVar[tuple[str, ...]] = ()  # attributes that learn and are saved, each with learn(now), state() and restore(state)

    @abstractmethod
    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        """d loss / d x for each view, never divided by B or by the size of x; the optimiser subtracts it."""

    def learn(self, now: Step) -> None:
        """Train what this guidance owns (a student, a discriminator), each with its own optimiser."""
        for name in self.owns:
            getattr(self, name).learn(now)

    def encode(self, image: Float[Tensor, "B H W K"]) -> Float[Tensor, "B C h w"]:
        """The image as `gradient` sees it."""
        return image.movedim(-1, 1) if self.space == "pixel" else self.prior.encode(image)

    def state(self) -> dict:
        """Nested dictionaries of tensors and JSON values."""
        return {name: getattr(self, name).state() for name in self.owns}

    def restore(self, state: dict) -> None:
        """The inverse of `state`."""
        for name in self.owns:
            getattr(self, name).restore(state[name])


@dataclass(frozen=True)
class Log:
    """What one step has to tell: `scalars` go to metrics.jsonl, `seconds` by part of the step (prior, renderer)."""

    scalars: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    skipped: bool = False


class System(ABC):
    """One stage of a run: a scene, what pulls it, and the step that moves it.

    `dream3d.assemble.stage` calls the constructor as TextTo3D's, with (scene, terms, cameras, background, optimizer, penalties, clip,
    steps, seed, salt) and the system's own settings. The runner reads `optimizer.streak` to roll back, previews draw through the rest; all
    must stay attributes.
    """

    scene: Representation
    terms: list  # of dream3d.term.Term
    cameras: Callable[[Step], Cameras]
    background: Callable[[Render, Cameras, Step], Render]
    optimizer: Any  # dream3d.optim.Adam or its like: step, remap, skipped, streak, state, restore
    steps: int
    seed: int
    about: str = ""  # in a few words what else pulls the scene, for the start of a run

    def begin(self, handed: Points | Mesh | Field | None) -> None:
        """Once, before the first step, on the way from what a file or an earlier stage hands over (None: from the scene as it is)."""
        if handed is not None:
            self.scene.init_from(handed)

    def draw(self, cameras: Cameras, now: Step) -> Render:
        """What the terms see of the scene, before the background."""
        return self.scene.render(cameras, now)

    @abstractmethod
    def step(self, index: int) -> Log:
        """One optimisation step."""

    @abstractmethod
    def state(self) -> dict:
        """Nested dictionaries of tensors and JSON values: everything needed to continue bit for bit."""

    @abstractmethod
    def restore(self, state: dict) -> None:
        """The inverse of `state`."""


def freeze(module: nn.Module) -> nn.Module:
    """No parameter of a prior ever collects a gradient."""
    return module.requires_grad_(False).eval()


def device_of(module: nn.Module) -> torch.device:
    """Where a module's first parameter or buffer lives."""
    named = [*module.named_parameters(), *module.named_buffers()]  # a setting may be called buffers
    tensor = named[0][1] if named else None
    return torch.device("cpu") if tensor is None else tensor.device
