"""Weights & Biases. Where it has no key and WANDB_MODE says nothing, it writes RUN/wandb for a later `wandb sync`.

It is told the configuration, scalars, previews and the mesh; not the console, the code, the machine or the command line.
"""

import os
from pathlib import Path
from typing import Any

from dream3d.trackers import About

PACKAGE = "wandb"
EXTRA = "track-wandb"


class Wandb:
    """`step` is a value of its own, which all others are drawn against: wandb's own counter cannot go back, a run that is continued can."""

    def __init__(self, about: About):
        import wandb

        self.wandb = wandb
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
        quiet = wandb.Settings(silent=True, console="off", disable_code=True, disable_git=True, save_code=False, x_disable_meta=True,
                               x_disable_stats=True, x_disable_machine_info=True, init_timeout=60)  # fmt: skip
        self.run: Any = wandb.init(project=os.environ.get("WANDB_PROJECT", "dream3d"), name=about.name, id=about.id, resume="allow",
                                   dir=str(about.path), config=about.values, mode=mode, settings=quiet)  # fmt: skip
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self.run.log({**values, "step": step})

    def image(self, step: int, name: str, path: Path) -> None:
        self.run.log({name: self.wandb.Image(str(path)), "step": step})

    def mesh(self, path: Path) -> None:
        if path.suffix == ".glb":
            self.run.log({"mesh": self.wandb.Object3D(str(path))})

    def close(self, status: str) -> None:
        self.run.finish(exit_code=0 if status == "done" else 1)


def begin(about: About) -> Wandb:
    return Wandb(about)
