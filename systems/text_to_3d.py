"""Text to 3D by score distillation: the whole idea is `step`.

Renders of the scene are cut from their graph; every term adds to the gradients on the cut buffers, through its prior's encoder;
the total is clipped pixel by pixel and sent through the renderer. Left of the waist live priors and formulas, right of it parameters.
"""

import copy
import dataclasses

from dream3d.cameras import Sampler
from dream3d.clock import Clock
from dream3d.interfaces import Log, Representation, System, device_of
from dream3d.optim import Adam, clip_pixels, clipped_share
from dream3d.penalties import Penalties
from dream3d.schedule import at
from dream3d.term import Term
from dream3d.types import Cameras, Render, Step


class TextTo3D(System):
    """One stage: `steps` steps of `terms` on `scene`. `clip` is PGC's C, one number or by buffer; `salt` tells stages and
    retries apart in the random stream."""

    def __init__(
        self, scene: Representation, terms: list[Term], cameras: Sampler, background, optimizer: Adam, penalties: Penalties,
        clip, steps: int, seed: int, salt: int | str = 0,
    ):  # fmt: skip
        self.scene, self.terms, self.cameras, self.background = scene, terms, cameras, background
        self.optimizer, self.penalties, self.clip = optimizer, penalties, clip
        self.steps, self.seed, self.salt = steps, seed, salt
        self.source: Representation | None = None  # where something compares with it: the scene as this stage found it

    def step(self, index: int) -> Log:
        clock, evaluations = Clock(), self._evaluations()
        now = Step.make(index, self.steps, self.seed, salt=self.salt)  # where we are; all randomness
        cameras = self.cameras(now).to(device_of(self.scene))  # B views: whence, of what, for which term
        render = self.background(self.draw(cameras, now), cameras, now)  # every buffer, composited
        clock.lap("renderer")

        seen = render.cut()  # the waist: the same buffers as leaves
        for term in self.terms:  # usually one
            term.pull(seen, cameras, now)  # encode, formula, back through the encoder
        clock.lap("prior")

        raw, limit = seen.gradients(), at(self.clip, now)
        pixels = clip_pixels(raw, limit)  # per buffer, per pixel, all terms together (PGC)
        render.backward(pixels, self.penalties(self.scene, render, now, self.source))  # through the renderer only
        clock.lap("renderer")

        moved = self.optimizer.step(self.scene.groups(now))
        if moved:  # a non-finite step is skipped whole, and counted
            for term in self.terms:
                term.learn(now)  # LoRA, discriminator: its own optimiser
            self.scene.refine(render, self.optimizer, now)  # densify, prune, occupancy
        clock.lap("rest")
        scalars = {**self._scalars(raw, limit), "evaluations": self._evaluations() - evaluations}
        return Log(scalars, clock.seconds, skipped=not moved)

    def draw(self, cameras: Cameras, now: Step) -> Render:
        """The scene, and beside it the unedited one where a formula compares the two."""
        edits = any(term.guidance.edits for term in self.terms)
        if self.source is None and (edits or self.penalties.compare):  # not in the constructor: a stage starts from what it is handed
            self.source = self._copied()
        if not edits:
            return self.scene.render(cameras, now)
        twin = now.twin()  # the same lamps, poses and places along rays: else they would be taken for edits
        return dataclasses.replace(self.scene.render(cameras, now), source=self.source.render(cameras, twin).detach())

    def _copied(self) -> Representation:
        """The scene as it is, which no longer learns. What goes with the progress of steps (the width of an edge, the levels that count)
        goes with it in both: where nothing has been learnt the two stay equal."""
        return copy.deepcopy(self.scene).requires_grad_(False)

    def _evaluations(self) -> float:
        """Network evaluations so far; terms may share a prior."""
        return float(sum(prior.evaluations for prior in {term.guidance.prior for term in self.terms}))

    def _scalars(self, raw: dict, limit) -> dict[str, float]:
        norms = {f"gradient/{name}": g.square().mean().sqrt().item() for name, g in raw.items()}
        counts = {"parameters": float(sum(p.numel() for p in self.scene.parameters()))}
        return {**norms, **counts, "clipped": clipped_share(raw, limit), "skipped": float(self.optimizer.skipped)}

    def state(self) -> dict:
        terms = {str(i): term.state() for i, term in enumerate(self.terms)}
        source = {} if self.source is None else {"source": self.source.state()}
        return {"scene": self.scene.state(), "optimizer": self.optimizer.state(), "terms": terms, **source}

    def restore(self, state: dict) -> None:
        self.scene.restore(state["scene"])
        self.optimizer.restore(state["optimizer"])
        if "source" in state:
            self.source = self._copied()
            self.source.restore(state["source"])
            self.source.requires_grad_(False)  # what is restored may be new parameters
        for i, term in enumerate(self.terms):
            term.restore(state.get("terms", {}).get(str(i), {}))
