"""The published sizes of all tiers: each file within its limit, the box within its own."""

import pytest
import torch

from dream3d.toybox.training import kinds, network
from dream3d.toybox.training.presets import PLACES, TIERS

BUDGET = {"toybox-latent": 2.70, "toybox-mv": 3.12, "toybox-depth": 1.81, "toybox-view": 2.71, "toybox-inpaint": 2.70,
          "toybox-rgbd": 2.70, "toybox-video": 0.74}  # million bytes of what is published; fmt: skip


def test_files_are_small_enough_and_so_is_the_box():
    """fp16 files of 16 MB at most; the priors over latents with toybox-32 in 24 MB, and the first four and motion with toybox."""
    sizes = {}
    for name, tier in TIERS.items():
        if tier.kind == "pixels":
            with torch.device("meta"):
                model = network.Pixels(tier)
            assert all(2 * sum(p.numel() for p in part.parameters()) < network.LARGEST for part in (model.net, model.reader))
            sizes[name] = 2 * sum(p.numel() for p in model.parameters()) / 1e6 + 0.03  # and the headers of the files
    assert set(PLACES) == {(tier, preset) for tier in TIERS for preset in ("cpu", "gpu")}
    assert all(where.early % where.chunk == 0 for where in PLACES.values())
    assert sizes["toybox-32"] + sum(BUDGET.values()) < 24 and sizes["toybox"] + sum(list(BUDGET.values())[:4]) + BUDGET["toybox-video"] < 24


@pytest.mark.slow
def test_full_sizes_are_those_of_the_budget(tmp_path):
    tier = TIERS["toybox-latent"]
    base, _, _ = kinds.made(tier, PLACES["toybox-latent", "cpu"], None, "cpu")
    base.publish(tmp_path / "toybox-latent")
    for name in BUDGET:
        folder = tmp_path / name
        if name != "toybox-latent":
            kinds.made(TIERS[name], PLACES[name, "cpu"], tmp_path / "toybox-latent", "cpu")[0].publish(folder)
        told = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 1e6
        assert BUDGET[name] - 0.03 < told < BUDGET[name], name
