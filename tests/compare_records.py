"""A comparison that never ran: jobs and records as a grid leaves them, with pictures, of any size."""

import io
from types import SimpleNamespace

import numpy as np
from PIL import Image

from dream3d.bench import compare_page, compare_summary
from dream3d.bench.compare import Row
from dream3d.bench.compare_grid import Method, run_name

CONFIG = SimpleNamespace(stages=[{"prior": {"type": "exact"}}], values={"steps": 200})


def job(method: str, prompt: str, seed: int):
    return SimpleNamespace(method=method, prompt=prompt, seed=seed, config=CONFIG, name=run_name(method, prompt, seed))


def record(one, rng, **more) -> dict:
    score = {"recognised": rng.random(), "iou": rng.random(), "chamfer": 0.1, "janus": int(rng.integers(3)), "view_gap": rng.random(),
             "saturation": 1 + 0.2 * rng.standard_normal()}  # fmt: skip
    known = {"variance": {"0.2": 0.1, "0.5": 0.5, "0.8": 0.9}, "evaluations": 1600, "cost": {"seconds": 20.0, "memory": 0.7, "card": None}}
    return {**failed(one, ""), "state": "done", "score": score, **known, **more}


def failed(one, reason: str) -> dict:
    return {"name": one.name, "method": one.method, "prompt": one.prompt, "seed": one.seed, "state": "failed", "reason": reason}


def grid(methods: list[str], prompts: list[str], seeds: int):
    """Its jobs in order, and what `summarise` is told of the rows."""
    rows = [Row(Method(name, "sds-gaussian"), {"type": "sds", "scale": 7.5}, ("prior.size 32 instead of 64",)) for name in methods]
    jobs = [job(method, prompt, seed) for seed in range(seeds) for prompt in prompts for method in methods]
    return {"command": ["--guidance", ",".join(methods)], "base": "sds-gaussian", "rows": rows}, jobs


def written(out, methods: list[str], prompts: list[str], seeds: int, spoil=None):
    """The page of such a grid; `spoil(job)` may give a record in the place of the usual one. Returns (page, summary)."""
    rng = np.random.default_rng(0)
    about, jobs = grid(methods, prompts, seeds)
    records = [spoiled or record(one, rng) for one in jobs if (spoiled := spoil(one) if spoil else None) is not False]
    for found in records:
        picture(out / "turntables" / f"{found['name']}.jpg", rng)
    diversity = {name: dict.fromkeys(prompts, 0.3) for name in methods}
    summary = compare_summary.summarise(about, jobs, records, diversity) | {"version": "1.2.3"}
    return compare_page.write(out, summary, records), summary


def picture(path, rng) -> None:
    """A turntable about as large as a real one: a noisy disc whose colour tells the frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:96, :96] - 47.5
    disc = (np.hypot(x, y) < 36)[..., None]
    frames = [np.where(disc, np.clip(np.array([20 * k, 120, 60]) + rng.normal(0, 12, (96, 96, 3)), 0, 255), 255) for k in range(12)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(frames, 1).astype(np.uint8)).save(buffer, "JPEG", quality=82)
    path.write_bytes(buffer.getvalue())
