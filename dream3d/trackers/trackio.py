"""Trackio, whose database lies in its own folder (TRACKIO_DIR): `trackio show` opens it."""

import os
from pathlib import Path
from typing import Any

from dream3d.trackers import About

PACKAGE = "trackio"
EXTRA = "track-trackio"


class Trackio:
    """Local unless the environment names a space."""

    def __init__(self, about: About):
        import trackio

        self.trackio = trackio
        self.run: Any = trackio.init(project=os.environ.get("TRACKIO_PROJECT", "dream3d"), name=f"{about.name}-{about.id}",
                                     config=about.values, resume="allow", embed=False)  # fmt: skip

    def scalars(self, step: int, values: dict[str, float]) -> None:
        self.run.log(values, step=step)

    def image(self, step: int, name: str, path: Path) -> None:
        self.run.log({name: self.trackio.Image(str(path))}, step=step)

    def mesh(self, path: Path) -> None:
        pass

    def close(self, status: str) -> None:
        self.run.finish()


def begin(about: About) -> Trackio:
    return Trackio(about)
