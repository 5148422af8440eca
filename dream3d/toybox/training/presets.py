"""Which priors can be trained, and where. One row each: what is not written yet is not listed."""

from dataclasses import dataclass, field

from dream3d.toybox.training.data import Mix


@dataclass(frozen=True)
class Tier:
    """A prior: `size` pixels a side, a transformer over patches of `patch` pixels (`heads` of 32, `layers`), texts of `width` numbers a
    token by `readers` layers, what it is shown. kind: its row in kinds.py; of those that have one, `coder` is the autoencoder's channels,
    `levels` the U-Net's, `base` the tier over which it stands."""

    what: str
    size: int
    patch: int = 4
    heads: int = 1
    layers: int = 1
    width: int = 128
    readers: int = 2
    mix: Mix = field(default_factory=Mix)
    shown: tuple[str, ...] = ("a red car", "a blue house", "a yellow duck", "a green bus")  # rows of the sample grid
    kind: str = "pixels"
    coder: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    base: str | None = None


@dataclass(frozen=True)
class Place:
    """How a tier is trained on a machine: steps of `batch` pictures, `views` of every instance, drawn `chunk` steps at a time; peak
    learning rate; share of EMA kept per step; `workers`: processes that draw (0: the device does); bf16: mixed precision; early: steps
    (whole chunks) in which an autoencoder learns first."""

    steps: int
    batch: int
    views: int
    chunk: int
    rate: float
    keep: float
    workers: int = 0
    bf16: bool = False
    early: int = 0


TIERS = {
    "toybox-32": Tier("toybox pictures of 32 pixels from text, in pixel space", 32, 4, 5, 7),
    "toybox": Tier("toybox pictures of 64 pixels from text, in pixel space", 64, 4, 6, 9,
                   mix=Mix(core=0.0, pairs=0.25, patterned=0.3),
                   shown=("a red car", "a striped blue cat", "a red ball on a blue cube", "a green plane")),
    "toybox-latent": Tier("toybox pictures of 128 pixels from text, in latents of 16 by 16", 128, width=64,
                          mix=Mix(moving=0.1), kind="latent", coder=(16, 24, 32, 32), levels=(32, 56)),
    "toybox-mv": Tier("four views of a toybox thing from text and cameras, 128 pixels each", 128, width=64,
                      mix=Mix(viewless=0.6), kind="views", levels=(32, 64), base="toybox-latent"),
    "toybox-depth": Tier("ControlNets of depth and of normals over toybox-latent", 128, width=64,
                         mix=Mix(silent=0.3), kind="control", coder=(8, 16, 24, 32), base="toybox-latent"),
    "toybox-view": Tier("a pictured toybox thing from another side", 128, width=64,
                        mix=Mix(core=0.3), kind="side", base="toybox-latent"),
    "toybox-inpaint": Tier("toybox pictures painted where a mask says, from text", 128, width=64, kind="inpaint", base="toybox-latent"),
    "toybox-rgbd": Tier("colour and depth of toybox things together, from text", 128, width=64, kind="joint", base="toybox-latent"),
    "toybox-video": Tier("motion over toybox-latent: eight frames of things that spin, bounce, drive, wave or grow", 128, width=64,
                         mix=Mix(pairs=0.0, moving=0.9), kind="clip", base="toybox-latent"),
}  # fmt: skip
PLACES = {
    ("toybox-32", "cpu"): Place(14000, 64, 4, 16, 1e-3, 0.999),
    ("toybox-32", "gpu"): Place(8000, 1024, 16, 1, 1e-3, 0.9995, 12, True),
    ("toybox", "cpu"): Place(40000, 64, 4, 16, 7e-4, 0.9995),
    ("toybox", "gpu"): Place(8000, 1024, 16, 1, 8e-4, 0.9995, 12, True),
    ("toybox-latent", "cpu"): Place(8000, 32, 4, 16, 1e-3, 0.999, early=1600),
    ("toybox-latent", "gpu"): Place(9600, 256, 8, 1, 1e-3, 0.999, 12, True, early=2400),
    ("toybox-mv", "cpu"): Place(8000, 8, 1, 16, 7e-4, 0.999),
    ("toybox-mv", "gpu"): Place(6000, 64, 1, 1, 1e-3, 0.999, 12, True),
    ("toybox-depth", "cpu"): Place(3000, 32, 4, 16, 5e-4, 0.998),
    ("toybox-depth", "gpu"): Place(3000, 256, 8, 1, 5e-4, 0.998, 12, True),
    ("toybox-view", "cpu"): Place(6000, 32, 4, 16, 5e-4, 0.999),
    ("toybox-view", "gpu"): Place(5000, 256, 8, 1, 7e-4, 0.999, 12, True),
    ("toybox-inpaint", "cpu"): Place(3000, 32, 4, 16, 5e-4, 0.998),
    ("toybox-inpaint", "gpu"): Place(3000, 256, 8, 1, 5e-4, 0.998, 12, True),
    ("toybox-rgbd", "cpu"): Place(4000, 32, 4, 16, 5e-4, 0.999),
    ("toybox-rgbd", "gpu"): Place(4000, 256, 8, 1, 7e-4, 0.999, 12, True),
    ("toybox-video", "cpu"): Place(4000, 4, 1, 16, 5e-4, 0.999),
    ("toybox-video", "gpu"): Place(4000, 32, 1, 1, 5e-4, 0.999, 12, True),
}
