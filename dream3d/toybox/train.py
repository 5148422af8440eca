"""`python -m dream3d.toybox.train toybox-32 [--preset cpu|gpu]`: a trained prior, from nothing but the toybox.

The same command goes on where it was stopped, to the bit on the CPU. Ctrl-C, SIGTERM and --minutes stop and save it; after a power cut the
newest checkpoint is two minutes old. --evaluate measures the newest weights, --publish puts them with their card where recipes find them.
"""

import argparse
import json
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dream3d import files
from dream3d.build import place
from dream3d.errors import Mistake
from dream3d.toybox.training import kinds
from dream3d.toybox.training.data import Feed, Order, Rows
from dream3d.toybox.training.network import LARGEST
from dream3d.toybox.training.presets import PLACES, TIERS, Place, Tier

WARM, FALL = 200, 0.25  # steps of warming up; share of all steps over which the learning rate falls to nothing at the end
SAVE, TELL, GRID = 120.0, 25, 1000  # seconds between checkpoints, steps between progress lines, between sample grids
KEEP = 2  # checkpoints
DECAY, CLIP, BETAS = 0.01, 1.0, (0.9, 0.99)


class Training:
    """Weights, their moving average, Adam's moments and the step: all there is, in files of at most 16 MB."""

    def __init__(
        self, tier: Tier, where: Place, out: Path, *, seed: int = 0, steps: int | None = None, device: str = "cpu", base: Path | None = None
    ):
        self.tier, self.place, self.out, self.seed, self.device = tier, where, out, seed, device
        self.steps, self.step, self.seconds, self.stopped = steps or where.steps, 0, 0.0, False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model, self.mean, self.base = kinds.made(tier, where, base, device)
        self.model.to(device).train()
        self.mean.to(device).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), where.rate, BETAS, weight_decay=DECAY, fused=True)
        order = Order(where.batch * where.chunk, where.views, tier.size, seed, tier.mix, where.early // where.chunk)
        self.feed = Feed(order, device, where.workers, self.model.draw)
        self._chunk: tuple[int, Rows] | None = None
        if newest := checkpoints(out):
            self._restore(newest[-1])

    def run(self, until: int | None = None, minutes: float = float("inf")) -> None:
        """To the last step, to step `until`, for some minutes, or until `stopped` is set. What was reached is saved."""
        self.out.mkdir(parents=True, exist_ok=True)
        begun = told = saved = time.monotonic()
        before = self.seconds
        while self.step < (until or self.steps) and not self.stopped:
            value = self._one()
            now = time.monotonic()
            self.step, self.seconds = self.step + 1, before + now - begun
            if self.step % TELL == 0:
                self._tell(value.item(), TELL * self.place.batch / (now - told))
                told = now
            if now - saved > SAVE:
                self.save()
                saved = now
            if self.step % GRID == 0 or self.step == self.steps:
                self.grid()
            self.stopped |= now - begun > 60 * minutes
        self.save()
        self.feed.close()

    def _one(self) -> Tensor:
        rows = self._batch()
        self.model.begin(self.step, self.mean, rows)
        rng = torch.Generator(self.device).manual_seed((self.seed << 32) + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.place.rate * rate(self.step, self.steps, self.place.early)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.place.bf16):
            value = self.model.loss(rows, rng)
        self.optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        keep = min(self.place.keep, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.mean.parameters()), [p.detach() for p in self.model.parameters()], 1 - keep)
        return value.detach()

    def _batch(self) -> Rows:
        index, row = divmod(self.step, self.place.chunk)
        if self._chunk is None or self._chunk[0] != index:
            self._chunk = (index, self.feed.chunk(index))
        chosen = slice(row * self.place.batch, (row + 1) * self.place.batch)
        return {name: value[chosen] for name, value in self._chunk[1].items()}

    def _tell(self, value: float, speed: float) -> None:
        left = (self.steps - self.step) * self.place.batch / speed / 60
        print(f"step {self.step} of {self.steps}: loss {value:.4f}, {speed:.0f} images/s, {self.seconds / 60:.1f} min, {left:.0f} min left",
              flush=True)  # fmt: skip
        line = {"step": self.step, "loss": value, "images_per_second": speed, "seconds": self.seconds}
        files.append(self.out / "log.jsonl", json.dumps(line) + "\n")

    def grid(self) -> None:
        """The moving average as a pipeline, and a picture of what it makes."""
        self.mean.publish(self.out / "pipeline")
        kinds.grid(self, self.out / f"samples_{self.step:06d}.png")

    def _tensors(self) -> dict[str, Tensor]:
        moments = self.optimizer.state_dict()["state"]
        named = {f"model.{k}": v for k, v in self.model.named_parameters()} | {f"mean.{k}": v for k, v in self.mean.named_parameters()}
        named |= {f"adam.{i}.{name}": v for i, row in moments.items() for name, v in row.items()}
        return {k: v.detach().cpu().contiguous() for k, v in named.items()}

    def save(self) -> None:
        """A folder of files of at most 16 MB, there or not there."""
        folder = self.out / f"step_{self.step:06d}"
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for i, tensors in enumerate(shards(self._tensors())):
            save_file(tensors, part / f"{i:02d}.safetensors")
        about = {"step": self.step, "seconds": self.seconds, "seed": self.seed, "batch": self.place.batch, "base": self.base}
        files.write_json(part / "state.json", about)
        for path in part.iterdir():
            files.flush(path)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
        for old in checkpoints(self.out)[:-KEEP]:
            shutil.rmtree(old)

    def _restore(self, folder: Path) -> None:
        about = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if (about["seed"], about["batch"]) != (self.seed, self.place.batch):
            raise Mistake(f"this training began with seed {about['seed']} and {about['batch']} pictures a step", where=str(folder),
                          fix="the same --seed and --preset, or another --work")  # fmt: skip
        if about.get("base") != self.base:
            raise Mistake("this training began over another base", where=str(folder), fix="the same --base, or another --work")
        tensors: dict[str, Tensor] = {}
        for path in sorted(folder.glob("*.safetensors")):
            tensors |= load_file(path)
        for name, model in (("model", self.model), ("mean", self.mean)):
            for key, value in model.named_parameters():
                value.data.copy_(tensors[f"{name}.{key}"])
        state: dict[int, dict] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.step, self.seconds = about["step"], about["seconds"]


def rate(step: int, steps: int, early: int = 0) -> float:
    """Warm up, stay, fall in a straight line: until it falls the number of steps may be changed. After `early` steps, when something else
    begins to learn, it warms up again."""
    since = step - early if step >= early else step
    return min(1.0, (since + 1) / WARM, (steps - step) / (FALL * steps))


def checkpoints(out: Path) -> list[Path]:
    """Whole ones, oldest first."""
    return sorted(p for p in out.glob("step_*") if p.suffix == "" and (p / "state.json").is_file())


def shards(tensors: dict[str, Tensor], most: int = LARGEST - (1 << 16)) -> list[dict[str, Tensor]]:
    """The same tensors, in their order, in groups of at most `most` bytes."""
    out: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, value in tensors.items():
        size += value.nbytes
        if size > most and out[-1]:
            out.append({})
            size = value.nbytes
        out[-1][name] = value
    return out


def main(words: list[str] | None = None) -> int:
    """Train, or measure, or publish; `words` are the arguments (None: of this process)."""
    given = _parser().parse_args(words)
    if given.threads:
        torch.set_num_threads(given.threads)
    device = "cuda" if given.preset == "gpu" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise Mistake("there is no CUDA device", where="--preset gpu", fix="--preset cpu")
    work = given.work or Path("train") / given.tier
    tier, how = TIERS[given.tier], PLACES[given.tier, given.preset]
    how = how if given.workers is None else replace(how, workers=given.workers)
    base = kinds.base_of(tier, given.base)
    training = Training(tier, how, work, seed=given.seed, steps=given.steps, device=device, base=base)
    if not (given.evaluate or given.publish):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: setattr(training, "stopped", True))
        training.run(minutes=given.minutes)
        if training.step < training.steps:
            print(f"stopped and saved at step {training.step} of {training.steps}; the same command goes on", flush=True)
            return 0
    out = None if given.evaluate else given.out or place("assets") / given.tier
    kinds.finish(training, given.tier, given.preset, out)
    return 0


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m dream3d.toybox.train", description=__doc__.splitlines()[0])
    made.add_argument("tier", choices=TIERS)
    made.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    made.add_argument("--steps", type=int, help="of the whole training (the preset's)")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--threads", type=int, default=0, help="of torch on the CPU (0: as many as it takes)")
    made.add_argument("--workers", type=int, help="processes that draw, each on one core; 0: the device does (the preset's)")
    made.add_argument("--minutes", type=float, default=float("inf"), help="stop and save after these")
    made.add_argument("--work", type=Path, help="checkpoints, log and samples (train/TIER)")
    made.add_argument("--base", type=Path, help="the folder of the prior that a tier stands over (assets/BASE, else train/BASE/pipeline)")
    made.add_argument("--out", type=Path, help="the pipeline folder (assets/TIER)")
    made.add_argument("--evaluate", action="store_true", help="measure the newest checkpoint, write WORK/metrics.json")
    made.add_argument("--publish", action="store_true", help="measure it, and write the pipeline folder with its card")
    return made


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Mistake as mistake:
        sys.exit(f"error: {mistake}")
