"""Why a job failed, and what to try next. Nothing here imports torch."""

from dataclasses import dataclass
from typing import Any

KINDS = ("memory", "diverged", "invalid", "lost", "timeout", "error")
CODES = {2: "invalid", 3: "invalid", 4: "memory", 5: "diverged"}  # of Mistake
ANOTHER = 1_000_003  # between the seed that diverged and the next: no list counts that far
SMALL = {"export.texture": 512, "export.resolution": 96, "export.size": 128, "export.faces": 5000}


@dataclass(frozen=True)
class Policy:
    """How often a job is begun again after its worker was lost or made no progress, with less memory, and with another seed."""

    lost: int = 3
    timeout: int = 1
    memory: int = 1
    diverged: int = 2


def kind(code: int) -> str:
    """What a Mistake's exit code says of a failure."""
    return CODES.get(code, "error")


def again(tries: list[dict[str, Any]], policy: Policy = Policy()) -> bool:
    """Whether a job is tried once more after those that failed."""
    failed = [row.get("failure", "error") for row in tries]
    return not failed or failed.count(failed[-1]) <= getattr(policy, failed[-1], 0)


def changes(values: dict[str, Any], tries: list[dict[str, Any]]) -> dict[str, Any]:
    """What is changed in a configuration for the next try after those that failed: path -> value, empty for the same once more."""
    failed = [row.get("failure", "error") for row in tries]
    found: dict[str, Any] = {}
    if "memory" in failed:
        found |= smaller(values)
    if count := failed.count("diverged"):
        found["seed"] = (values["seed"] + count * ANOTHER) % (1 << 31)
    return found


def smaller(values: dict[str, Any]) -> dict[str, Any]:
    """The settings of the low-memory preset that are smaller than those of a configuration."""
    export, cameras = values["export"], values["cameras"]
    found = {path: value for path, value in SMALL.items() if export.get(path.partition(".")[2], 0) > value}
    if cameras.get("batch", 1) > 1:
        found["cameras.batch"] = cameras["batch"] // 2
    return found


def marked(changed: dict[str, Any]) -> str:
    """A run's folder beside that of the first try: another configuration is another run."""
    words = ["small"] if any(path != "seed" for path in changed) else []
    words += [f"seed{changed['seed']}"] if "seed" in changed else []
    return "-".join(["run", *words])
