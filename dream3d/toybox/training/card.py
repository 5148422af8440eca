"""What is known about trained weights, beside them: data, steps, hardware, metrics, licence, the exact command."""

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import torch

from dream3d import __version__, files
from dream3d.toybox.language import COLOURS, OBJECTS
from dream3d.toybox.training import goals, measure, store
from dream3d.toybox.training.data import CORE_COLOURS, CORE_OBJECTS, HELD_OUT
from dream3d.toybox.training.network import publish

BRIEF = ("car",), ("red", "purple")  # objects and colours where it is only to be seen that it runs


def finish(training, name: str, preset: str, out: Path | None, brief: bool = False) -> None:
    """Measure the moving average and write metrics.json; into `out` (None: nowhere) the pipeline folder with its card."""
    folder = training.out / "pipeline"
    with store.anew(folder) as part:
        publish(training.mean, part)
    prior = measure.opened(folder, training.device)
    core = training.tier.mix.core > 0
    names, colours = BRIEF if brief else (CORE_OBJECTS, CORE_COLOURS) if core else (OBJECTS, tuple(COLOURS))
    metrics = measure.evaluate(prior, names, colours)
    if not core:
        metrics["two_objects"] = measure.evaluate_doubles(prior, **{"count": 4} if brief else {})
    files.write_json(training.out / "metrics.json", {"step": training.step, **metrics})
    print(json.dumps(metrics, indent=2), goals.said(name, metrics), sep="\n")
    if out is not None:
        store.free(out)
        with store.anew(out) as part:
            publish(training.mean, part)
            files.write_json(part / "card.json", card(training, name, preset, metrics))


def card(training, name: str, preset: str, metrics: dict) -> dict:
    """card.json, as `list models` and `describe` read it."""
    device = torch.cuda.get_device_name() if training.device == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores"
    text = [p.numel() for name, p in training.mean.named_parameters() if name.startswith("reader.")]
    steps = "" if training.steps == training.place.steps else f" --steps {training.steps}"
    base = " --base FOLDER" if training.base else ""
    return {
        "name": name, "kind": "toybox", "what": training.tier.what,
        "data": "toybox renders of the prior's instance stream, made as training went on; no other picture",
        "mix": asdict(training.tier.mix), "held_out": sorted(" ".join(pair[::-1]) for pair in HELD_OUT),
        "pictures": training.step * training.place.batch, "steps": training.step, "of_steps": training.steps, "batch": training.place.batch,
        "seed": training.seed, "seconds": round(training.seconds), "hardware": f"{device}, torch {torch.__version__}",
        "parameters": sum(p.numel() for p in training.mean.parameters()) - sum(text), "text_parameters": sum(text),
        "metrics": metrics, "goals": goals.goals(name, metrics), "licence": "Apache-2.0", "version": __version__,
        "command": f"python -m dream3d.toybox.train {name} --preset {preset} --seed {training.seed}{steps}{base}",
        **({"base": training.base} if training.base else {}),
    }  # fmt: skip

