"""`python -m dream3d.toybox.trip --out OUT`: as much training as a borrowed GPU's minutes allow, tier after tier; the same call goes on.

A call ends within --limit seconds. In OUT it leaves report.json and at most seven archives of 15 MiB, to be unpacked at the root of the
project: priors under assets/, logs, samples and numbers under train/, and the state of a training that is not at its end, where there is
room for it. They are there before anything is measured, so that a call which is cut off brings home what it has reached. --rehearse takes
every tier through two small steps, publishes and measures it: what does not run there is known in minutes.
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
MOST, ARCHIVES, ALL = 15 << 20, 7, 60 << 20  # bytes of an archive; archives of a call, and their bytes
TAR = 1024  # bytes that a file costs beside its own, at most
Rows = list[tuple[Path, str]]  # a file, and where it belongs


def main(words: list[str] | None = None) -> int:
    """0 where every tier that was asked for is published, 1 where the same call has to come again, 5 where a tier failed."""
    began = time.monotonic()
    given = _parser().parse_args(words)
    given.tiers = given.tiers or [name for name in TIERS if name != "toybox-32"]
    given.out.mkdir(parents=True, exist_ok=True)
    given.first = 1 + max(map(_number, given.out.glob("home.*.tar")), default=-1)  # those of earlier calls stay
    done = rehearsed(given) if given.rehearse else trained(given, began)
    home = sorted(path.name for path in given.out.glob("home.*.tar") if _number(path) >= given.first)
    report = {"tiers": done, "archives": home, "seconds": round(time.monotonic() - began)}
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
            done[name] = {}
            worked = [tier for tier, row in done.items() if not row.get("waits") and row != {"published": True}]
            done[name] |= _gone_on(given, name, left / 60, worked)
    return done


def _gone_on(given: argparse.Namespace, name: str, minutes: float, worked: list[str]) -> dict:
    work, out, base = given.work / name, given.work / "published" / name, TIERS[name].base
    told = ["--preset", given.preset, "--work", str(work), "--out", str(out), "--minutes", f"{minutes:.3f}"]
    told += ["--base", str(_prior(given, base))] if base else []
    told += [] if given.workers is None else ["--workers", str(given.workers)]
    row: dict = {}

    def reached(training: train.Training) -> None:
        with store.anew(work / "pipeline") as folder:
            training.mean.publish(folder)
        packed(given, worked)

    try:
        train.main([name, *told], reached)
    except Exception as error:  # what others have reached must come home
        traceback.print_exc()
        row["failed"] = f"{type(error).__name__}: {error}"
    if kept := store.checkpoints(work):
        state = json.loads((kept[-1] / "state.json").read_text(encoding="utf-8"))
        row |= {key: state[key] for key in ("step", "steps", "seconds")}
    row["published"] = _prior(given, name) is not None
    packed(given, worked)
    return row


def packed(given: argparse.Namespace, names: Iterable[str]) -> None:
    """What goes home of these tiers, instead of what this call packed before: priors and numbers first, then whole states, as long as there
    is room."""
    archives: list[Rows] = [[]]
    for name, rows in [(name, part(given, name)) for part in (_results, _state) for name in names]:
        more = _filled(archives, rows)
        if len(more) > ARCHIVES or sum(_room(path) for one in more for path, _ in one) > ALL:
            print(f"{name}: there is no room for {rows[0][1]} and {len(rows) - 1} files more; they stay in {given.work}", flush=True)
        else:
            archives = more
    kept = [_archive(given.out / f"home.{given.first + i:02d}.tar", rows) for i, rows in enumerate(archives) if rows]
    for i in range(given.first + len(kept), given.first + ARCHIVES):
        (given.out / f"home.{i:02d}.tar").unlink(missing_ok=True)


def _results(given: argparse.Namespace, name: str) -> Rows:
    """A tier's prior, or what it is so far, and what is known of it."""
    work, out = given.work / name, given.work / "published" / name
    samples = sorted(work.glob("samples_*.png"))[-1:]
    rows = [(path, f"train/{name}/{path.name}") for path in (work / "log.jsonl", work / "metrics.json", *samples) if path.exists()]
    prior, where = (out, f"assets/{name}") if (out / "card.json").exists() else (work / "pipeline", f"train/{name}/pipeline")
    return rows + [(path, f"{where}/{path.relative_to(prior).as_posix()}") for path in sorted(prior.rglob("*")) if path.is_file()]


def _state(given: argparse.Namespace, name: str) -> Rows:
    """The newest checkpoint of a tier that is not published."""
    newest = [] if (given.work / "published" / name / "card.json").exists() else store.checkpoints(given.work / name)[-1:]
    return [(path, f"train/{name}/{folder.name}/{path.name}") for folder in newest for path in sorted(folder.iterdir())]


def _filled(archives: list[Rows], rows: Rows) -> list[Rows]:
    """Archives with more in the last one, and in further ones."""
    out = [*archives[:-1], list(archives[-1])]
    for row in rows:
        if out[-1] and sum(_room(path) for path, _ in out[-1]) + _room(row[0]) > MOST:
            out.append([])
        out[-1].append(row)
    return out


def _number(archive: Path) -> int:
    return int(archive.name.split(".")[1])


def _room(path: Path) -> int:
    return path.stat().st_size + TAR


def _archive(path: Path, rows: Rows) -> str:
    with files.replacing(path) as temporary, tarfile.open(temporary, "w") as out:
        for source, name in rows:
            out.add(source, name)
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
