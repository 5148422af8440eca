"""The gallery shows what its commands make, and leaves nothing out."""

import shlex
import signal

import numpy as np
import pytest
import torch
from dream3d.renderers.dynamic_gaussians import DynamicGaussians
from dream3d.renderers.gaussians import Gaussians
from PIL import Image

from dream3d import build, cli
from dream3d.bench import gallery
from dream3d.errors import Interrupted, Mistake

COMMANDS = (
    ('prompt="a red car"   # that is it', ("prompt=a red car",), 'prompt="a red car"'),
    ("prompt=it   # the paper's own", ("prompt=it",), "prompt=it"),
    ('guidance.regions="a | b"', ("guidance.regions=a | b",), "guidance.regions='a | b'"),
    ("""prompt='say "hi" now'""", ('prompt=say "hi" now',), """prompt='say "hi" now'"""),
    ('guidance="{t: [0.02, 0.98]}"', ("guidance={t: [0.02, 0.98]}",), "guidance='{t: [0.02, 0.98]}'"),
    ("prompt='costs $HOME now'", ("prompt=costs $HOME now",), "prompt='costs $HOME now'"),
    ("steps=3 renderer.kind=a,b", ("steps=3", "renderer.kind=a,b"), "steps=3 renderer.kind=a,b"),
)  # as a head says it, the settings it stands for, as the page says it


def test_every_formula_and_every_representation_has_a_recipe_with_a_command(tmp_path):
    jobs = [gallery.job(one, tmp_path) for one in gallery.entries()]
    stages = [stage for job in jobs for stage in job.config.stages]
    assert set(build.available("renderers")) <= {stage["renderer"]["type"] for stage in stages}
    terms = [term for stage in stages for term in (stage["guidance"] if isinstance(stage["guidance"], list) else [stage["guidance"]])]
    assert set(build.available("guidance")) <= {term["type"] for term in terms}
    assert all(job.run.parent == tmp_path / "runs" and job.config.values["export"]["mesh"] is False for job in jobs)


def test_the_page_is_what_the_recipes_and_pictures_say():
    docs = build.place("docs")
    assert (docs / "gallery.md").read_text(encoding="utf-8") == gallery.page(gallery.entries(), docs)
    assert {path.stem for path in (docs / "gallery").glob("*.webp")} == {one.name for one in gallery.entries()}


def test_a_head_is_read_up_to_its_command(tmp_path):
    path = tmp_path / "calm-gaussian.yaml"
    path.write_text('# Calm, on\n# Gaussians.\n#   python launch.py --config calm-gaussian.yaml prompt="a red car" init=MY.glb\nsteps: 3\n')
    one = gallery.entry(path)
    assert one == gallery.Entry("calm-gaussian", "Calm, on Gaussians.", ("prompt=a red car", "init=assets/meshes/car.ply"))
    assert one.command == 'python launch.py --config calm-gaussian.yaml prompt="a red car" init=assets/meshes/car.ply'
    for said, settings, printed in COMMANDS:
        path.write_text(f"# Calm.\n#   python launch.py --config calm-gaussian.yaml {said}\nsteps: 3\n")
        one = gallery.entry(path)
        assert one.settings == settings and one.command.removeprefix("python launch.py --config calm-gaussian.yaml ") == printed
        assert tuple(shlex.split(printed)) == settings
    path.write_text('# Calm.\n#   python launch.py --config calm-gaussian.yaml prompt="a car\nsteps: 3\n')
    with pytest.raises(Mistake, match="cannot be read"):
        gallery.entry(path)
    path.write_text("# Calm.\n#   python launch.py --config calm-gaussian.yaml-old steps=3\nsteps: 3\n")
    with pytest.raises(Mistake, match="no command"):
        gallery.entry(path)
    path.write_text("# Calm.\nsteps: 3\n")
    with pytest.raises(Mistake, match="no command"):
        gallery.entry(path)


def test_a_run_that_fails_or_is_damaged_is_told_and_the_others_are_made(tmp_path, monkeypatch, capsys):
    def broken(run):
        raise Mistake("this checkpoint is damaged", where=str(run), fix="delete it")

    monkeypatch.setattr("dream3d.bench.quality.generate", lambda job: None)
    monkeypatch.setattr("dream3d.api.load", broken)
    monkeypatch.setattr(gallery, "_docs", lambda: tmp_path / "docs")
    assert gallery.main(["sds-plane", "sds-gaussian", "--out", str(tmp_path)]) == 6
    told = capsys.readouterr()
    assert told.err.count("this checkpoint is damaged") == told.err.count("delete it") == 2
    text = (tmp_path / "docs" / "gallery.md").read_text()
    assert "## Not made yet" in text and "sds-plane" in text


def test_without_a_checkout_there_is_nowhere_to_show_it(monkeypatch):
    def nowhere(name):
        raise StopIteration

    monkeypatch.setattr(gallery, "place", nowhere)
    with pytest.raises(Mistake, match="no docs folder"):
        gallery._docs()


def test_a_still_scene_is_shown_from_four_sides_and_a_moving_one_at_four_times(tmp_path):
    rng = torch.Generator().manual_seed(0)
    gallery.save(Gaussians(rng, count=50), tmp_path / "still.webp")
    scene = DynamicGaussians(rng, count=50)
    with torch.no_grad():
        scene.still.logit.fill_(3.0)
        scene.field.out[-1, 2] = 0.5  # up by half a metre
    gallery.save(scene, tmp_path / "moving.webp", moves=True)
    still, moving = (_heights(tmp_path / name) for name in ("still.webp", "moving.webp"))
    assert (still.diff().abs() < 6).all()
    assert (moving.diff() < -4).all()


def _heights(path) -> torch.Tensor:
    """Rows from the top at which the four pictures of a strip have their mean darkness."""
    dark = 255 - torch.from_numpy(np.asarray(Image.open(path).convert("L")).copy()).float().view(128, 4, 128).sum(2) / 128
    return (dark * torch.arange(128.0)[:, None]).sum(0) / dark.sum(0)


def test_names_that_are_no_recipe():
    with pytest.raises(Mistake, match="no recipe") as told:
        gallery.main(["sds-gausian"])
    assert "sds-gaussian" in told.value.near


def test_a_signal_ends_it_with_what_was_made_kept(tmp_path, monkeypatch, capsys):
    def heard(job, picture):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(gallery, "shown", heard)
    assert cli.main(["bench", "gallery", "sds-plane", "--out", str(tmp_path)]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "stopped by SIGTERM; what was made is saved, and the same command goes on\n"
