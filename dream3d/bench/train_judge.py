"""`python -m dream3d.bench.train_judge [--steps N] [--out FOLDER]`: the judge's weights and their card, from nothing but the toybox.

Goes on where it was stopped (FOLDER/training.safetensors, training.json). About half an hour on two idle cores.
"""

import argparse
import json
import math
import os
import platform
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor

from dream3d import __version__, files
from dream3d.bench.judge import Judge
from dream3d.bench.scenes import Examples, examples
from dream3d.build import place
from dream3d.toybox.language import COLOURS, OBJECTS, PATTERNS

BATCH, RATE, SAVE, CHECK = 128, 3e-3, 100, 500  # pictures, Adam's learning rate, steps between saves and between checks
CYCLE = 4000  # steps after which the learning rate, fallen to nothing, starts again (SGDR, arXiv:1608.03983)
VALIDATION = 1 << 40  # seeds from here on are never trained on


def loss(judge: Judge, batch: Examples) -> Float[Tensor, ""]:
    """Cross-entropies: of what every cell shows, of presence, and of colour, pattern and view where they are known."""
    where, present, colour, pattern, view = judge(batch.image.contiguous(memory_format=torch.channels_last))
    cells = F.cross_entropy(where, batch.cells, reduction="none")
    weight = 1 + 4 * (1 - batch.cells[:, -1])  # most cells are background, and soon easy
    known = batch.present >= 0
    there = F.binary_cross_entropy_with_logits(present[known], batch.present[known], reduction="sum") / len(batch)
    named = [F.cross_entropy(logits[target >= 0], target[target >= 0])
             for logits, target in ((colour, batch.colour), (pattern, batch.pattern), (view, batch.view))]  # fmt: skip
    return 4 * (weight * cells).mean() + 0.5 * there + 0.7 * named[0] + 0.5 * named[1] + named[2]


@torch.no_grad()
def accuracy(judge: Judge, batch: Examples) -> dict[str, float]:
    """Shares right: the strongest objects, an object's colour and pattern, the view; empty pictures in which nothing is seen."""
    said = judge.look(batch.image)
    clear = (batch.present >= 0).all(-1)
    count = batch.present.clamp(min=0).sum(-1).long()
    order = said.present.argsort(-1, descending=True)
    right = torch.stack([batch.present[b, order[b, : count[b]]].eq(1).all() for b in range(len(batch))])
    return {
        "objects": _mean(right[clear & (count > 0)]),
        "colour": _mean((said.colour.argmax(-1) == batch.colour)[batch.colour >= 0]),
        "pattern": _mean((said.pattern.argmax(-1) == batch.pattern)[batch.pattern >= 0]),
        "view": _mean((said.view.argmax(-1) == batch.view)[batch.view >= 0]),
        "nothing": _mean((said.present.amax(-1) < 0.5)[count == 0]),
    }


def _mean(right: Tensor) -> float:
    return round(right.float().mean().item(), 4)


def rate(step: int, steps: int) -> float:
    """A hundred steps of warming up, then cosines; the last one ends with the training."""
    begun = step // CYCLE * CYCLE
    length = min(CYCLE, steps - begun)
    return RATE * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * (step - begun) / length))


class Training:
    """Weights, Adam's moments and the step: all there is, in two files."""

    def __init__(self, out: Path, steps: int, seed: int):
        torch.manual_seed(seed)
        self.out, self.steps, self.seed, self.step, self.seconds = out, steps, seed, 0, 0.0
        self.judge = Judge().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.judge.parameters(), RATE, betas=(0.9, 0.98))
        if (out / "training.json").is_file():
            self._restore()

    def run(self, until: int | None = None) -> None:
        """To the last step, or to step `until`."""
        began = time.monotonic() - self.seconds
        while self.step < (until or self.steps):
            for group in self.optimizer.param_groups:
                group["lr"] = rate(self.step, self.steps)
            value = loss(self.judge.train(), examples(BATCH, self.seed + 1 + self.step))
            self.optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.judge.parameters(), 1.0)
            self.optimizer.step()
            self.step, self.seconds = self.step + 1, time.monotonic() - began
            if self.step % SAVE == 0:
                self._save()
                print(f"step {self.step} of {self.steps}: loss {value.item():.3f}, {self.seconds:.0f} s", flush=True)
            if self.step % CHECK == 0 or self.step == self.steps:
                print("  ", self.check(512), flush=True)

    def check(self, count: int) -> dict[str, float]:
        return accuracy(self.judge.eval(), examples(count, VALIDATION + self.seed))

    def _tensors(self) -> dict[str, Tensor]:
        moments = self.optimizer.state_dict()["state"]
        adam = {f"adam.{i}.{name}": v for i, row in moments.items() for name, v in row.items()}
        return {f"judge.{k}": v.contiguous() for k, v in self.judge.state_dict().items()} | {
            k: v.contiguous() for k, v in adam.items()
        }

    def _save(self) -> None:
        with files.replacing(self.out / "training.safetensors") as path:
            save_file(self._tensors(), path, {"step": str(self.step), "seconds": f"{self.seconds:.1f}"})
        files.write_json(self.out / "training.json", {"step": self.step, "seconds": self.seconds, "seed": self.seed})

    def _restore(self) -> None:
        tensors = load_file(self.out / "training.safetensors")
        self.judge.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("judge.")})
        state: dict[int, dict] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        about = json.loads((self.out / "training.json").read_text(encoding="utf-8"))
        self.step, self.seconds, self.seed = about["step"], about["seconds"], about["seed"]


def write(training: Training, out: Path, note: str = "") -> None:
    """model.safetensors (half precision) and card.json."""
    weights = {name: value.half().contiguous() for name, value in training.judge.state_dict().items()}
    with files.replacing(out / "model.safetensors") as path:
        save_file(weights, path)
    files.write_json(out / "card.json", {
        "name": "judge", "kind": "classifier",
        "what": f"objects ({len(OBJECTS)}), colour ({len(COLOURS)}), pattern ({len(PATTERNS)} and plain) and view of toybox pictures",
        "data": "toybox renders of the judge's own instance stream, blurred, hazy, speckled, over random backgrounds",
        "steps": training.step, "batch": BATCH, "seed": training.seed, "seconds": round(training.seconds),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "parameters": sum(p.numel() for p in training.judge.parameters()),
        "metrics": training.check(4096), "licence": "Apache-2.0", "version": __version__,
        "command": f"python -m dream3d.bench.train_judge --steps {training.steps} --seed {training.seed}",
        **({"note": note} if note else {}),
    })  # fmt: skip


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=7000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=place("assets") / "judge")
    parser.add_argument("--note", default="", help="what the card should say of how these weights came to be")
    parser.add_argument("--work", type=Path, default=Path("train-judge"), help="where the state of the training lies")
    given = parser.parse_args(words)
    training = Training(given.work, given.steps, given.seed)
    training.run()
    write(training, given.out, given.note)
    return 0


if __name__ == "__main__":
    main()
