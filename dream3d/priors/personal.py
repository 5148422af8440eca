"""An exact prior that was personalised: it knows one object behind each prompt, and keeps the prior of many that it came from.

What a model fine-tuned on a few pictures of one object is to its checkpoint before (DreamBooth, arXiv:2208.12242), with nothing
trained: `original` is the same mixture of renders over `instances` objects, of which the personalised one keeps the first.
"""

import dataclasses
from typing import ClassVar

from dream3d.claims import offered
from dream3d.interfaces import Prior
from dream3d.priors.exact import Exact
from dream3d.schedule import Count
from dream3d.types import Embedding


class Personal(Exact, Prior):
    """size, renders, others: as in exact; instances: objects behind a prompt before it was personalised to one."""

    vocabulary: ClassVar[str] = "dream3d.toybox.language"
    memory: ClassVar[str] = "32 * size**2 * (4 * renders * prompts + others + 1.5 * max(4 * renders, others))"

    offers: ClassVar[dict[str, str]] = {"student": "True", "original": "True"}

    def __init__(self, *, size: Count = 64, instances: Count = 4, renders: Count = 800, others: Count = 2000):
        super().__init__(size=size, instances=1, renders=renders, others=others)
        self.original = Exact(size=size, instances=instances, renders=renders, others=others)
        self.spec = dataclasses.replace(self.spec, capabilities=offered(self.offers, {}))

    def text(self, prompts: list[str]) -> Embedding:
        """Rows that mean the same to both: each is asked for the same prompts in the same order."""
        self.original.text(prompts)
        return super().text(prompts)
