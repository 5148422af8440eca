"""MLflow, on the server or in the folder that MLFLOW_TRACKING_URI names; experiment MLFLOW_EXPERIMENT_NAME, else dream3d."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dream3d.trackers import About

PACKAGE = "mlflow"
EXTRA = "track-mlflow"
TAG = "dream3d.id"
ENDS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
LONGEST, MOST = 500, 100  # characters of a parameter, parameters of one call: the limits of older servers


class Mlflow:
    """By its client, since the module's own functions note the command line and the user, and set handlers. A run that is continued is
    found by its tag."""

    def __init__(self, about: About):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self.client, self.metric = MlflowClient(), Metric
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "dream3d")
        found = self.client.get_experiment_by_name(name)
        place = found.experiment_id if found else self.client.create_experiment(name)
        runs = self.client.search_runs([place], f"tags.`{TAG}` = '{about.id}'", max_results=1)
        if runs:
            self.run = runs[0].info.run_id
            self.client.update_run(self.run, status="RUNNING")
            return
        self.run = self.client.create_run(place, run_name=about.name, tags={TAG: about.id}).info.run_id
        params = [Param(path, text[:LONGEST]) for path, text in _leaves(about.values)]
        for start in range(0, len(params), MOST):
            self.client.log_batch(self.run, params=params[start : start + MOST])

    def scalars(self, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.run, metrics=[self.metric(name, float(v), now, step) for name, v in values.items()])

    def image(self, step: int, name: str, path: Path) -> None:
        self.client.log_artifact(self.run, str(path), name)

    def mesh(self, path: Path) -> None:
        self.client.log_artifact(self.run, str(path), "export")

    def close(self, status: str) -> None:
        self.client.set_terminated(self.run, ENDS[status])


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Single values by their paths."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if not inner:
        yield path, str(value)
        return
    for key, one in inner:
        yield from _leaves(one, f"{path}.{key}" if path else str(key))


def begin(about: About) -> Mlflow:
    return Mlflow(about)
