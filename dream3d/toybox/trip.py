"""`python -m dream3d.toybox.trip --out OUT`: as much training as a borrowed GPU's minutes allow, tier after tier; the same call goes on.

A call ends within --limit seconds. In OUT it leaves report.json and archives of at most 15 MiB, to be unpacked at the root of the project:
priors under assets/, logs, samples and numbers under train/, and the state of a training that is not at its end, where it is small enough
to travel. --rehearse takes every tier through two small steps, publishes and measures it: what does not run there is known in minutes.
"""

import argparse
import json
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dream3d import files
from dream3d.build import place
from dream3d.toybox import train
from dream3d.toybox.training import kinds, store
from dream3d.toybox.training.presets import PLACES, TIERS

LIMIT, REST, LEAST = 560.0, 100.0, 30.0  # seconds: of a call; of these for measuring and packing; below which no training goes on
MOST, TRAVELS = 15 << 20, 44 << 20  # bytes of an archive; of a state that is packed


def main(words: list[str] | None = None) -> int:
    """0 where every tier that was asked for is published, 1 where the same call has to come again, 5 where a tier failed."""
    began = time.monotonic()
    given = _parser().parse_args(words)
    given.tiers = given.tiers or [name for name in TIERS if name != "toybox-32"]
    given.out.mkdir(parents=True, exist_ok=True)
    done = rehearsed(given) if given.rehearse else trained(given, began)
    report = {"tiers": done, "seconds": round(time.monotonic() - began)}
    files.write_json(given.out / "report.json", report)
    print(json.dumps(report, indent=2), flush=True)
    if any("failed" in row for row in done.values()):
        return 5
    return int(not given.rehearse and not all(row.get("published") for row in done.values()))


def trained(given: argparse.Namespace, began: float) -> dict[str, dict]:
    """Every tier that is not published yet, while there is time; what a tier has come to. One that fails costs no other anything."""
    done: dict[str, dict] = {}
    for name in given.tiers:
        left = given.limit - REST - (time.monotonic() - began)
        base = TIERS[name].base
        if _prior(given, name):
            done[name] = {"published": True}
        elif base and not _prior(given, base):
            done[name] = {"waits": f"for {base}"}
        elif left < LEAST:
            done[name] = {"waits": "for the next call"}
        else:
            done[name] = _gone_on(given, name, left / 60)
    return done


def _gone_on(given: argparse.Namespace, name: str, minutes: float) -> dict:
    work, out, base = given.work / name, given.work / "published" / name, TIERS[name].base
    told = ["--preset", given.preset, "--work", str(work), "--out", str(out), "--minutes", f"{minutes:.3f}"]
    told += ["--base", str(_prior(given, base))] if base else []
    told += [] if given.workers is None else ["--workers", str(given.workers)]
    row: dict = {}
    try:
        train.main([name, *told])
    except Exception as error:  # what others have reached must come home
        traceback.print_exc()
        row["failed"] = f"{type(error).__name__}: {error}"
    if kept := store.checkpoints(work):
        state = json.loads((kept[-1] / "state.json").read_text(encoding="utf-8"))
        row |= {key: state[key] for key in ("step", "steps", "seconds")}
    row["published"] = _prior(given, name) is not None
    row["archives"] = packed(given, name)
    return row


def packed(given: argparse.Namespace, name: str) -> list[str]:
    """What goes home of a tier."""
    work, out = given.work / name, given.work / "published" / name
    samples = sorted(work.glob("samples_*.png"))[-1:]
    rows = [(path, f"train/{name}/{path.name}") for path in (work / "log.jsonl", work / "metrics.json", *samples) if path.exists()]
    prior, where = (out, f"assets/{name}") if (out / "card.json").exists() else (work / "pipeline", f"train/{name}/pipeline")
    rows += [(path, f"{where}/{path.relative_to(prior).as_posix()}") for path in sorted(prior.rglob("*")) if path.is_file()]
    made = [_archive(given.out / f"{name}.tar", rows)]
    state = [] if prior == out else [p for folder in store.checkpoints(work)[-1:] for p in sorted(folder.iterdir())]
    if sum(path.stat().st_size for path in state) > TRAVELS:
        print(f"the state of {name} is too large to travel: it stays in {work}", flush=True)
        return made
    for i, path in enumerate(state):
        made.append(_archive(given.out / f"{name}.state.{i}.tar", [(path, f"train/{name}/{path.parent.name}/{path.name}")]))
    return made


def _archive(path: Path, rows: Iterable[tuple[Path, str]]) -> str:
    with files.replacing(path) as temporary, tarfile.open(temporary, "w") as out:
        for source, name in rows:
            out.add(source, name)
    if path.stat().st_size > MOST + (1 << 16):
        print(f"{path.name} has more than {MOST >> 20} MiB", flush=True)
    return path.name


def _prior(given: argparse.Namespace, name: str) -> Path | None:
    """Where a tier lies that was published, here or before."""
    return next((p for p in (given.work / "published" / name, place("assets") / name) if (p / "card.json").exists()), None)


def rehearsed(given: argparse.Namespace) -> dict[str, dict]:
    """Two steps of a few pictures of every tier, over the first of them; processes draw for the first alone."""
    done: dict[str, dict] = {}
    device = "cuda" if given.preset == "gpu" else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(given.tiers):
            began, tier, where = time.monotonic(), TIERS[name], PLACES[name, given.preset]
            small = replace(where, steps=2, batch=min(8, where.batch), views=min(4, where.views), chunk=1, early=min(1, where.early),
                            workers=min(2, where.workers) if i == 0 else 0)  # fmt: skip
            work, out = Path(folder) / name, Path(folder) / "published" / name
            if tier.base and not (Path(folder) / "published" / tier.base).exists():
                done[name] = {"failed": f"it stands over {tier.base}, which comes first"}
                continue
            try:
                base = Path(folder) / "published" / tier.base if tier.base else None
                training = train.Training(tier, small, work, device=device, base=base)
                training.run()
                kinds.finish(training, name, given.preset, out, brief=True)
                done[name] = {"seconds": round(time.monotonic() - began, 1)}
            except Exception as error:  # the next tier's may be another
                traceback.print_exc()
                done[name] = {"failed": f"{type(error).__name__}: {error}"}
    return done


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("python -m dream3d.toybox.trip", description=__doc__.splitlines()[0])
    made.add_argument("tiers", nargs="*", type=_tier, metavar="TIER", help="in their order (all but toybox-32)")
    made.add_argument("--out", type=Path, required=True, help="a folder for what goes home")
    made.add_argument("--limit", type=float, default=LIMIT, help=f"seconds of this call ({LIMIT:.0f})")
    made.add_argument("--work", type=Path, default=Path("train"), help="checkpoints and logs: what has to stay between calls (train)")
    made.add_argument("--preset", choices=("cpu", "gpu"), default="gpu")
    made.add_argument("--workers", type=int, help="processes that draw (the preset's)")
    made.add_argument("--rehearse", action="store_true", help="only see that every tier runs here")
    return made


def _tier(name: str) -> str:
    if name not in TIERS:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(TIERS)}")
    return name


if __name__ == "__main__":
    sys.exit(main())
