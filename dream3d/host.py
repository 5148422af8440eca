"""What a run has from whoever makes many: a prior that stays in memory, and word that it shall stop."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dream3d import build, parts


class Lost(Exception):
    """The folder has become another process's; from here on nothing was written."""


class Loaded:
    """One prior in memory, for whoever asks for the same one next. Where what it answers depends on all that it was asked for, the same
    is one that was asked for the same: a resumed run asks only for its own stage. texts: where embeddings are kept, for those that do
    (dream3d/priors/_texts.py; None: in the user's folder)."""

    def __init__(self, texts: Any = None):
        self.key, self.prior, self.texts = "", None, texts

    def get(self, settings: dict, device: str) -> Any:
        """The prior of a stage's complete settings."""
        key = asked(settings, device)
        if key != self.key:
            self.clear()
            self.prior, self.key = build.make("priors", settings["prior"]).to(device), key
            for part in [part for part in self.prior.modules() if getattr(part, "embeds", False)]:
                part.texts = self.texts
        return self.prior

    def clear(self) -> None:
        """Before another is loaded, so that no two are in memory at once."""
        if self.prior is not None:
            self.key, self.prior = "", None
            gc.collect()


def asked(settings: dict, device: str) -> str:
    """What tells a stage's prior from others."""
    own = [settings["prior"], device]
    if remembers(settings["prior"]):
        entries = settings["guidance"] if isinstance(settings["guidance"], list) else [settings["guidance"]]
        regions = [parts.regions(entry, settings["renderer"]) for entry in entries]
        own += [settings[key] for key in ("prompt", "negative", "guidance", "text")] + regions
    return repr(own)


def remembers(prior: dict) -> bool:
    """Whether what a prior answers depends on what else it was asked for."""
    return kind(prior).remembers


def kind(prior: dict) -> type:
    """The class of a prior's settings."""
    return build.load(build.signature("priors", prior["type"]))


@dataclass(frozen=True)
class Host:
    """lost: whether the run's folder has become another process's, which then is left as it is; stop: the signal at which the run shall
    save and end, where its own process does not hear of it; clock: seconds that count as the run's; together: of how many
    runs the calls of the network are one."""

    loaded: Loaded = field(default_factory=Loaded)
    lost: Callable[[], bool] = lambda: False
    stop: Callable[[], int | None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    together: Callable[[], int] = lambda: 1
