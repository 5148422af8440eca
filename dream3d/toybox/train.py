"""`python -m dream3d.toybox.train toybox-32 [--preset cpu|gpu]`: a trained prior, from nothing but the toybox.

The same command goes on where it was stopped, to the bit on the CPU. Ctrl-C, SIGTERM and --minutes stop and save it (a second Ctrl-C ends
it at once); after a power cut the newest checkpoint is two minutes old. --evaluate measures the newest weights, --publish puts them with
their card where recipes find them.
"""

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dream3d import files
from dream3d.build import place
from dream3d.errors import Mistake
from dream3d.toybox.training import kinds, store
from dream3d.toybox.training.data import Feed, Order, Rows
from dream3d.toybox.training.presets import PLACES, TIERS, Place, Tier

WARM, FALL = 200, 0.25  # steps of warming up; share of all steps over which the learning rate falls to nothing at the end
SAVE, TELL, GRID = 120.0, 25, 1000  # seconds between checkpoints, steps between progress lines, between sample grids
DECAY, CLIP, BETAS = 0.01, 1.0, (0.9, 0.99)


class Training:
    """Weights, their moving average, Adam's moments and the step: all there is, in files of at most 16 MB."""

    def __init__(
        self, tier: Tier, where: Place, out: Path, *, seed: int = 0, steps: int | None = None, device: str = "cpu",
        base: Path | None = None, measured: bool = False,
    ):  # fmt: skip
        """measured: it will not go on, so that its own number of steps holds where none is given."""
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
        if newest := store.newest(out):
            self._restore(*newest, steps is None and measured)

    def run(self, until: int | None = None, minutes: float = float("inf")) -> None:
        """To the last step, to step `until`, for some minutes, or until `stopped` is set. What was reached is saved."""
        try:
            self._run(until or self.steps, minutes)
        finally:
            self.feed.close()

    def _run(self, until: int, minutes: float) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        begun = told = saved = time.monotonic()
        before = self.seconds
        while self.step < until and not self.stopped:
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
        if not math.isfinite(value):
            raise self._lost()
        left = (self.steps - self.step) * self.place.batch / speed / 60
        print(f"step {self.step} of {self.steps}: loss {value:.4f}, {speed:.0f} images/s, {self.seconds / 60:.1f} min, {left:.0f} min left",
              flush=True)  # fmt: skip
        line = {"step": self.step, "loss": value, "images_per_second": speed, "seconds": self.seconds}
        files.append(self.out / "log.jsonl", json.dumps(line) + "\n")

    def grid(self) -> None:
        """The moving average as a pipeline, and a picture of what it makes."""
        with store.anew(self.out / "pipeline") as folder:
            self.mean.publish(folder)
        kinds.grid(self, self.out / f"samples_{self.step:06d}.png")

    def _tensors(self) -> dict[str, Tensor]:
        moments = self.optimizer.state_dict()["state"]
        named = {f"model.{k}": v for k, v in self.model.named_parameters()} | {f"mean.{k}": v for k, v in self.mean.named_parameters()}
        named |= {f"adam.{i}.{name}": v for i, row in moments.items() for name, v in row.items()}
        return {k: v.detach().cpu().contiguous() for k, v in named.items()}

    def save(self) -> None:
        """A checkpoint. Raises Mistake where weights are no numbers, and keeps those there are."""
        tensors = self._tensors()
        if not all(value.isfinite().all() for value in tensors.values()):
            raise self._lost()
        about = {"seconds": self.seconds, "steps": self.steps, "threads": torch.get_num_threads(), **self._began()}
        store.write(self.out, self.step, tensors, about)

    def _began(self) -> dict:
        """What may not change between the beginning and the end."""
        told = {"seed": self.seed, "base": self.base, "tier": self.tier.what}
        return told | {name: getattr(self.place, name) for name in ("batch", "views", "chunk")}

    def _lost(self) -> Mistake:
        kept = [path.name for path in store.checkpoints(self.out)]
        return Mistake(f"after step {self.step} weights or losses are no numbers", where=str(self.out), code=5,
                       near=f"{kept[-1]} is whole" if kept else "", fix="a lower rate in presets.py, or without bf16")  # fmt: skip

    def _restore(self, folder: Path, about: dict, tensors: dict[str, Tensor], own_steps: bool) -> None:
        if self.tier.kind == "pixels" and self.base is None:  # a base is where it began: to go on it takes none
            self.base = about.get("base")
        mine = self._began()
        other = {name for name, value in mine.items() if about.get(name, value) != value}
        if other & {"seed", "batch"}:
            raise Mistake(f"this training began with seed {about['seed']} and {about['batch']} pictures a step", where=str(folder),
                          fix="the same --seed and --preset, or another --work")  # fmt: skip
        if "base" in other:
            raise Mistake("this training began over another base", where=str(folder), fix="the same --base, or another --work")
        if other:
            raise Mistake(f"this training is of another tier: {about.get('tier')}", where=str(folder), fix="another --work")
        before = about.get("steps", self.steps)
        self.steps = before if own_steps else self.steps
        check_steps(about["step"], before, self.steps, self.place.early, str(folder))
        if self.device == "cpu" and about.get("threads", torch.get_num_threads()) != torch.get_num_threads():
            print(f"begun with {about['threads']} threads, goes on with {torch.get_num_threads()}: not the same bits", flush=True)
        try:
            self._take(tensors)
        except (KeyError, RuntimeError) as error:
            raise Mistake(f"these are not this network's weights: {' '.join(str(error).split())[:120]}", where=str(folder),
                          fix="another --work") from error  # fmt: skip
        self.step, self.seconds = about["step"], about["seconds"]

    def _take(self, tensors: dict[str, Tensor]) -> None:
        for name, model in (("model", self.model), ("mean", self.mean)):
            for key, value in model.named_parameters():
                value.data.copy_(tensors[f"{name}.{key}"])
        state: dict[int, dict] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


def rate(step: int, steps: int, early: int = 0) -> float:
    """Warm up, stay, fall in a straight line: until it falls the number of steps may be changed. After `early` steps, when something else
    begins to learn, it warms up again."""
    since = step - early if step >= early else step
    return min(1.0, (since + 1) / WARM, (steps - step) / (FALL * steps))


def check_steps(step: int, before: int, now: int, early: int, where: str) -> None:
    """Raises Mistake where a training that has taken `step` of `before` steps would have learnt at other rates had it been told `now`."""
    if all(rate(i, before, early) == rate(i, now, early) for i in range(step)) and now >= step:
        return
    least = max(step, math.ceil((step - 1) / (1 - FALL)))
    falling = step - 1 > (1 - FALL) * before
    near = "" if falling else f"--steps {least} or more"
    why = "the rate falls towards its end already" if falling else f"of {now} steps the rate would have fallen by now"
    raise Mistake(f"at step {step} of {before} it is too late for {now}: {why}", where=where, near=near, fix=f"--steps {max(before, step)}")


@contextmanager
def stopping(training: Training) -> Iterator[None]:
    """Ctrl-C or SIGTERM lets the training stop and save; the same once more does what it does elsewhere."""

    def stop(number: int, frame: object) -> None:
        training.stopped = True
        signal.signal(number, before[number])
        os.write(2, b"stopping and saving; once more ends it at once\n")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


def main(words: list[str] | None = None, reached: Callable[[Training], object] = lambda training: None) -> int:
    """Train, or measure, or publish; `words` are the arguments (None: of this process). `reached` is called with what was trained and
    saved, before it is measured."""
    given = _parser().parse_args(words)
    if given.threads:
        torch.set_num_threads(given.threads)
    device = "cuda" if given.preset == "gpu" else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise Mistake("there is no CUDA device", where="--preset gpu", fix="--preset cpu")
    work, out = given.work or Path("train") / given.tier, given.out or place("assets") / given.tier
    measured = given.evaluate or given.publish
    if measured and not store.checkpoints(work):
        raise Mistake("there is no checkpoint to measure", where=str(work), fix="train first, or name its folder by --work")
    if not given.evaluate:
        store.free(out)
    with store.claimed(work):
        training = _made(given, work, device, measured)
        if not measured:
            with stopping(training):
                training.run(minutes=given.minutes)
            reached(training)
            if training.step < training.steps:
                print(f"stopped and saved at step {training.step} of {training.steps}; the same command goes on", flush=True)
                return 0
        kinds.finish(training, given.tier, given.preset, None if given.evaluate else out)
    return 0


def _made(given: argparse.Namespace, work: Path, device: str, measured: bool) -> Training:
    tier, how = TIERS[given.tier], PLACES[given.tier, given.preset]
    how = how if given.workers is None else replace(how, workers=given.workers)
    base = kinds.base_of(tier, given.base)
    return Training(tier, how, work, seed=given.seed, steps=given.steps, device=device, base=base, measured=measured)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m dream3d.toybox.train", description=__doc__.splitlines()[0])
    made.add_argument("tier", choices=TIERS)
    made.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    made.add_argument("--steps", type=_whole(1), help="of the whole training (the preset's)")
    made.add_argument("--seed", type=_whole(0), default=0)
    made.add_argument("--threads", type=_whole(0), default=0, help="of torch on the CPU (0: as many as it takes)")
    made.add_argument("--workers", type=_whole(0), help="processes that draw, each on one core; 0: the device does (the preset's)")
    made.add_argument("--minutes", type=_positive, default=float("inf"), help="stop and save after these")
    made.add_argument("--work", type=Path, help="checkpoints, log and samples (train/TIER)")
    made.add_argument("--base", type=Path, help="the folder of the prior over which a tier stands (assets/BASE, else train/BASE/pipeline);"
                      " for toybox-32 and toybox: of that with whose weights it begins")  # fmt: skip
    made.add_argument("--out", type=Path, help="the pipeline folder (assets/TIER)")
    what = made.add_mutually_exclusive_group()
    what.add_argument("--evaluate", action="store_true", help="measure the newest checkpoint, write WORK/metrics.json")
    what.add_argument("--publish", action="store_true", help="measure it, and write the pipeline folder with its card")
    return made


def _whole(least: int):
    """A whole number that a seed's 32 bits hold."""

    def number(text: str) -> int:
        if not least <= int(text) < 1 << 31:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least} on")
        return int(text)

    return number


def _positive(text: str) -> float:
    if not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return float(text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(mistake.code)
    except KeyboardInterrupt:
        sys.exit(130)
