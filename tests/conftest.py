"""Toys for contract tests: a scene with every buffer and a prior with a real encoder, both small enough to differentiate jointly."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch; without the package's moment of spin: workers share the cores
if "PYTEST_XDIST_WORKER" in os.environ:  # another worker has the other core; processes that tests start do as they do
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dream3d.interfaces import Group, Guidance, Prior, Representation, Spec
from dream3d.types import Cameras, Embedding, Points, Render, Step, View

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))


def pytest_collection_modifyitems(config, items):
    """What is marked slow is left out, with this reason, unless -m speaks of it."""
    if "slow" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: pytest -m slow"))


@pytest.fixture(scope="session", autouse=True)
def brief_fit():
    """Surfaces of soft things are moved, but for two steps only; tests of how well it goes set both themselves."""
    from dream3d.export import fit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "STAGES", ((4, 2, 1e-3, 0.02),))
        patch.setattr(fit, "VIEWS", 4)
        yield


class ToyScene(Representation):
    """Every buffer is a smooth function of one parameter tensor and of the camera's azimuth."""

    def __init__(self, size: int = 16, subjects: int = 1):
        super().__init__()
        self.size = size
        start = torch.randn(subjects, 13, size, size, generator=torch.Generator().manual_seed(7))
        self.theta = torch.nn.Parameter(0.5 * start)

    def render(self, cameras: Cameras, now: Step | None = None) -> Render:
        subject = torch.zeros(len(cameras), dtype=torch.long) if cameras.subject is None else cameras.subject
        turn = torch.cos(cameras.azimuth + torch.arange(13)[:, None])[..., None, None].movedim(0, 1)
        image = (self.theta[subject] * (1 + 0.3 * turn)).movedim(1, -1)
        rgb, alpha, depth, normal, features, _ = image.split([3, 1, 1, 3, 4, 1], -1)
        extras = {
            "opacity": torch.sigmoid(self.theta[:, -1]).flatten(),
            "scale": self.theta.square().reshape(-1, 13)[:, :3],
        }
        alpha = torch.sigmoid(alpha)
        source = None
        if getattr(self, "edited", False):
            source = Render(rgb.detach() * 0.5, alpha.detach(), depth.detach())
        return Render(torch.sigmoid(rgb) * alpha, alpha, depth.exp(), normal, None, features, source, extras)

    def groups(self, now: Step) -> list[Group]:
        return [Group("theta", self.theta, 0.05)]

    def handover(self) -> Points:
        position = self.theta[0, :3].reshape(3, -1).T.detach()
        return Points(position, torch.sigmoid(position))


class ToyPrior(Prior):
    """A latent prior: `encode` is a fixed strided convolution, `eps` a fixed linear map shifted by the text."""

    def __init__(self, channels: int = 4, inputs: int = 3):
        super().__init__()
        self.spec = Spec(size=8, channels=channels, space="latent")
        generator = torch.Generator().manual_seed(3)
        self.register_buffer("kernel", 0.3 * torch.randn(channels, inputs, 2, 2, generator=generator))

    def encode(self, image: Tensor) -> Tensor:
        return F.conv2d(image.movedim(-1, 1), self.kernel, stride=2)

    def decode(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.kernel, stride=2).movedim(1, -1)

    def text(self, prompts: list[str]) -> Embedding:
        return Embedding(torch.tensor([[[float(len(p))]] for p in prompts]))

    def alpha_sigma(self, t):
        return (1 - t**2).sqrt(), t

    def eps(self, x, t, text, cameras=None, render=None):
        return x * t.view(-1, 1, 1, 1) + 0.01 * text.tokens[:, 0, 0].view(-1, 1, 1, 1)

    def student(self, *, rank: int):
        raise NotImplementedError


class Towards(Guidance):
    """The gradient of 0.5 |x - target|^2: a guidance with a known loss."""

    space = "latent"

    def __init__(self, prior: Prior, target: float = 0.3, pixel: bool = False):
        self.prior, self.target = prior, target
        if pixel:
            self.space = "pixel"

    def gradient(self, view: View, now: Step) -> Tensor:
        self.seen = view
        goal = self.target if view.source is None else view.source
        return view.x - goal


@pytest.fixture
def toy_scene():
    return ToyScene


@pytest.fixture
def toy_prior():
    return ToyPrior


@pytest.fixture
def towards():
    return Towards
