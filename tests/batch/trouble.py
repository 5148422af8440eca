"""A formula whose fate is in its seed: 90 hangs, 91 raises, 92 kills its process, each at the third step; others pull gently to grey."""

import os
import signal
import time
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dream3d.interfaces import Guidance
from dream3d.types import Step, View


@dataclass(eq=False)
class Trouble(Guidance):
    """Nothing to set."""

    def gradient(self, view: View, now: Step) -> Float[Tensor, "B C h w"]:
        if now.index == 2 and now.seed == 90:
            time.sleep(1000)
        if now.index == 2 and now.seed == 91:
            raise RuntimeError("as it was told to")
        if now.index == 2 and now.seed == 92:
            os.kill(os.getpid(), signal.SIGKILL)
        return view.x * 0.1
