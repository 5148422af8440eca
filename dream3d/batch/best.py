"""Which of the jobs of one prompt are the best, by a number that eval found. No torch."""

import math
from typing import Any

from dream3d.errors import Mistake, choices

LESS = {"janus", "view_gap", "chamfer", "clip_fronts", "pick_fronts", "hps_fronts", "seconds", "memory", "mesh_components"}  # the better

LARGEST = 1e300


def marked(records: list[dict[str, Any]], count: int, by: str) -> list[dict[str, Any]]:
    """The records, each with `best`: whether it is among the `count` best of its prompt and recipe that were not rejected; the earlier seed
    where two are alike. Raises Mistake where no record has that number."""
    known = {name for record in records for name, value in _numbers(record).items() if _is(value)}
    if by not in known:
        raise Mistake(f"no asset has a number called {by!r}", where="--by", near=choices(by, sorted(known)) if known else "",
                      fix="python launch.py eval LIBRARY finds some")  # fmt: skip
    groups: dict[Any, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record.get("prompt"), record.get("negative"), record.get("recipe")), []).append(record)
    best = {id(record) for group in groups.values() for record in sorted(filter(_kept, group), key=lambda r: _rank(r, by))[:count]}
    return [{**record, "best": id(record) in best} for record in records]


def methods(records: list[dict[str, Any]], layout: str, method: str) -> list[str]:
    """Under which method's name another benchmark is shown each record. T3Bench has one asset of a method and a prompt: of several seeds,
    each is a method of its own (sds-s3). Raises Mistake where two would lie in one place, or take each other's name."""
    seen: dict[Any, dict[str, Any]] = {}
    for record in records:
        other = seen.setdefault((record.get("prompt"), record.get("seed")), record)
        if other is not record:
            raise Mistake(f"two assets of {str(record.get('prompt'))[:60]!r} have seed {record.get('seed')}, and would take one place",
                          where="--layout", near="--keep-best 1", fix="a library for each configuration")  # fmt: skip
    apart = layout == "t3bench" and len({record.get("prompt") for record in records}) < len(records)
    return [f"{method}-s{record.get('seed')}" if apart else method for record in records]


def _rank(record: dict[str, Any], by: str) -> tuple[float, int]:
    value = _numbers(record).get(by)
    sign = 1 if by in LESS else -1
    return (float(sign * value) if _is(value) else math.inf, int(record.get("seed", 0)))


def _kept(record: dict[str, Any]) -> bool:
    return not _numbers(record).get("rejected")


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    return {**(record.get("metrics") or {}), "seconds": record.get("seconds"), "memory": record.get("memory")}


def _is(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST  # neither of inf and nan
