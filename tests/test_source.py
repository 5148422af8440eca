"""Editing: a scene beside itself as its stage found it, told what that shows; and what is said where either is missing."""

import pytest
import torch
from dream3d.systems.text_to_3d import TextTo3D

from dream3d import build, checkpoint, config
from dream3d.api import execute
from dream3d.background import Random
from dream3d.cameras import look_at
from dream3d.errors import Mistake
from dream3d.folder import Folder
from dream3d.optim import Adam
from dream3d.options import Words
from dream3d.penalties import Penalties
from dream3d.prompt import Prompt
from dream3d.schedule import Ramp, Times
from dream3d.term import Term
from dream3d.types import Step
from dream3d.vocabulary import check_vocabulary

TINY = ["prior={type: mixture, size: 16}", "renderer.count=40", "cameras.batch=2", "keep={preview: 3, steps: 3, seconds: 0}",
        "export={mesh: false, frames: 2, size: 32}", "prompt=0", "stages.0.prompt=1", "stages.1.guidance.source=1"]  # fmt: skip


SCENES = {
    "toy": None, "gaussians": {"type": "gaussians", "count": 40}, "mesh": {"type": "mesh", "faces": 80, "shading": "lambert"},
    "hashgrid": {"type": "hashgrid", "levels": 4, "entries": 4096, "hidden": 16, "samples": 24},
    "skinned": {"type": "skinned", "surface": "gaussians", "poses": "random"},
}  # fmt: skip


def made(kind):
    """None: a scene without chance."""
    return SCENES[kind] and build.make("renderers", SCENES[kind], torch.Generator().manual_seed(0))


@pytest.fixture
def edited(toy_prior, toy_scene):
    """How to make a system whose term edits, and what it saw in each step."""
    prior = toy_prior()

    def make(seen, scene=None):
        guidance = build.make("guidance", {"type": "dds", "t": Times.parse([0.1, 0.9]), "scale": Ramp(2.0)}, prior)
        real = guidance.gradient
        guidance.gradient = lambda view, now: seen.append(view) or real(view, now)
        term = Term(guidance, Prompt(prior, ["a duck"], "", Words(), source="a car"))
        azimuth = torch.tensor([0.0, 3.0])
        return TextTo3D(scene or toy_scene(), [term], lambda now: look_at(azimuth, 0 * azimuth, size=16), Random(), Adam(), Penalties({}),
                        None, 6, 0)  # fmt: skip

    return make


def test_the_source_is_the_scene_as_the_stage_found_it(edited):
    """Also what a preview sees first; on the same background, from the same cameras; and only the scene moves."""
    system, seen = edited(views := []), views
    start = {k: v.clone() for k, v in system.scene.state().items()}
    for index in range(3):
        system.step(index)
    assert torch.equal(seen[0].source, seen[0].x) and not torch.equal(seen[2].source, seen[2].x)
    assert all(torch.equal(v, start[k]) for k, v in system.source.state().items())
    assert any(not torch.equal(v, start[k]) for k, v in system.scene.state().items())
    now = Step.make(2, system.steps, system.seed)
    background = system.background(system.source.render(system.cameras(now), now), system.cameras(now), now)
    assert torch.equal(seen[2].source, system.terms[0].guidance.prior.encode(background.rgb))


@pytest.mark.parametrize("kind", SCENES)
def test_it_stays_the_same_over_an_interruption(kind, edited, tmp_path):
    whole, first, second = (edited([], made(kind)) for _ in range(3))
    checkpoint.save(tmp_path / "start", 0, first.state(), {})
    assert "source" not in first.state()  # a stage that has not begun has not looked
    for index in range(4):
        whole.step(index)
    for index in range(2):
        first.step(index)
    checkpoint.save(tmp_path / "run", 2, first.state(), {})
    second.restore(checkpoint.newest(tmp_path / "run")[1])
    for index in range(2, 4):
        second.step(index)
    for one, two in ((whole.scene, second.scene), (whole.source, second.source)):
        assert all(torch.equal(v, two.state()[k]) for k, v in one.state().items())
    assert not any(p.requires_grad for p in second.source.parameters())
    third = edited([], made(kind))
    third.restore(checkpoint.newest(tmp_path / "start")[1])
    third.step(0)
    assert all(torch.equal(a, b) for a, b in zip(third.source.parameters(), whole.source.parameters(), strict=True))


@pytest.mark.parametrize("kind", SCENES)
def test_lamps_poses_and_places_along_rays_are_no_edits(kind, edited):
    """Where nothing has been learnt the two look alike, whatever is drawn by chance; kernels that keep no gradients round otherwise."""
    system = edited([], made(kind))
    for index in range(3):
        now = Step.make(index, system.steps, system.seed)
        render = system.draw(system.cameras(now), now)
        assert torch.allclose(render.rgb, render.source.rgb, atol=1e-5) and torch.allclose(render.alpha, render.source.alpha, atol=1e-5)
        assert render.alpha.max() > 0


def test_nothing_is_kept_where_nothing_edits(toy_prior, toy_scene, towards):
    term = Term(towards(toy_prior()), Prompt(toy_prior(), ["a toy"], "", Words()))
    azimuth = torch.zeros(1)
    system = TextTo3D(toy_scene(), [term], lambda now: look_at(azimuth, azimuth, size=16), Random(), Adam(), Penalties({}), None, 2, 0)
    system.step(0)
    assert system.source is None and "source" not in system.state()


def test_a_run_edits_what_its_first_stage_made(tmp_path):
    """The second stage's source is the first one's last scene, through the handover."""
    found = config.load("dds-gaussian", [*TINY, "steps=10", f"out={tmp_path / 'run'}"])
    done = execute(Folder(Folder.place(found), found), quiet=True)
    assert done.metrics["step"] == 9 and done.metrics["skipped"] == 0 and done.metrics["evaluations"] == 4 * 2
    _, state = checkpoint.newest(done.path / "checkpoints")
    moved = {k for k, v in state["source"].items() if not torch.equal(v, state["scene"][k])}
    assert {"position", "opacity"} & moved


def test_prompts_of_the_source_are_told_the_view(toy_prior):
    asked = []

    class Listening(toy_prior):
        def text(self, prompts):
            asked.extend(prompts)
            return super().text(prompts)

    cameras = look_at(torch.tensor([0.0, torch.pi]), torch.zeros(2), size=16)
    prompt = Prompt(prior := Listening(), ["a duck", "a car"], "", Words(), ["a hat"], "a mug")
    rows = prompt(cameras)
    for row, expected in {"source": ["a mug, front view", "a mug, back view"], "region/0": ["a hat, front view", "a hat, back view"],
                          "text": ["a duck, front view", "a duck, back view"], "empty": ["", ""]}.items():  # fmt: skip
        assert torch.equal(rows[row].tokens, prior.text(expected).tokens)
    assert "a mug" in asked and "source" not in Prompt(prior, ["a duck"], "", Words())(cameras)


@pytest.mark.parametrize("name", ["dds", "pds"])
def test_a_missing_source_is_told_before_any_work(name):
    with pytest.raises(Mistake, match=f"{name} edits a scene") as told:
        config.load("sds-gaussian", ["prompt=a red car", f"guidance={{type: {name}}}"])
    assert told.value.code == 2 and "guidance.source=" in str(told.value)
    with pytest.raises(Mistake, match="stages.1"):
        config.load("sds-gaussian", ["prompt=a red car", f"stages=[{{share: 1}}, {{guidance: {{type: {name}}}}}]"])
    assert config.load("sds-gaussian", [f"guidance={{type: {name}, source: a red mug}}"]).values["guidance"]["source"] == "a red mug"


def test_the_source_is_text_and_is_read_by_the_prior():
    found = config.load("dds-gaussian", ["stages.1.guidance.source=a: dragon"])
    assert found.values["stages"][1]["guidance"]["source"] == "a: dragon"  # never parsed as YAML
    with pytest.raises(Mistake, match="dragon"):
        check_vocabulary(found)
