"""Scores of runs: what is rejected, what models of one's own say, which seed is best, and what other benchmarks find."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dream3d.batch import best, evaluate, layouts
from dream3d.batch.evaluate import Evaluation
from dream3d.batch.likeness import Likeness
from dream3d.commands import eval as command
from dream3d.errors import Mistake
from dream3d.interfaces import Representation
from dream3d.options import Export
from dream3d.types import Points, Render


class Disc(Representation):
    """A sphere of one colour as every camera sees it; radius in halves of the picture, 0: nothing."""

    def __init__(self, radius=0.5, rgb=(0.9, 0.1, 0.1)):
        super().__init__()
        self.radius, self.rgb = radius, torch.nn.Parameter(torch.tensor(rgb))

    def render(self, cameras, now=None):
        place = (torch.arange(cameras.height) + 0.5) / cameras.height * 2 - 1
        alpha = (place[:, None].square() + place[None].square() < self.radius**2).float()[None, ..., None].expand(len(cameras), -1, -1, 1)
        normal = torch.zeros(*alpha.shape[:3], 3) + torch.tensor([0.0, 0.0, 1.0])
        return Render(alpha * self.rgb, alpha, alpha * 2, normal * alpha)

    def groups(self, now):
        return []

    def handover(self):
        return Points(torch.zeros(1, 3), torch.zeros(1, 3))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP with random weights, as transformers writes it."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed: pip install dream3d[diffusion]")
    from dream3d.toybox.training import words

    folder, tokenizer = tmp_path_factory.mktemp("clip"), words.tokenizer()
    text = {"vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
            "max_position_embeddings": 24, "bos_token_id": len(tokenizer) - 2, "eos_token_id": len(tokenizer) - 1}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
              "patch_size": 8}  # fmt: skip
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_nothing_and_a_fog_are_rejected_and_a_thing_is_not():
    found = [Evaluation().scene(Disc(radius), "a unicorn") for radius in (0.0, 0.5, 2.0)]
    assert [one["rejected"] for one in found] == ["nothing is to be seen", None, "it fills the view"]
    assert found[1]["covered_least"] == pytest.approx(np.pi / 16, abs=0.02)


def test_a_scene_that_is_not_finite_is_rejected():
    assert "not finite" in Evaluation().scene(Disc(0.5, (float("nan"), 0.0, 0.0)), "a red ball")["rejected"]


def test_prompts_of_the_toy_world_have_a_truth():
    found = Evaluation().scene(Disc(0.6), "a red ball")
    assert found["colours"] > 0.9 and found["iou"] > 0.5 and "recognition" in found
    assert "iou" not in Evaluation().scene(Disc(0.35), "a unicorn")


def test_a_model_of_ones_own_is_asked_as_transformers_does(clip):
    """The cosine of its own forward pass, on a picture of its own size."""
    model = Likeness(clip)
    picture = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)))
    told = model.tokenizer(["a red car", "a cat"], padding=True, return_tensors="pt")
    with torch.no_grad():
        right = model.model(pixel_values=(picture - mean) / std, **told).logits_per_image / model.sharp
    assert torch.allclose(model.pictures(picture) @ model.words(["a red car", "a cat"]).T, right, atol=1e-5)
    assert model.scale == 100 and Likeness(clip, learnt=True).scale == pytest.approx(model.sharp)


def test_scores_of_models_are_kept_apart_and_told_among_prompts(clip):
    found = Evaluation({"clip": Likeness(clip)}, ("a red ball", "a cat", "a blue duck")).scene(Disc(0.35), "a red ball")
    assert -100 <= found["clip_score"] <= 100 and 0 <= found["clip_precision"] <= 1 and found["clip_fronts"] in range(13)


def test_words_are_asked_for_once(clip, monkeypatch):
    model, asked = Likeness(clip), []
    real = model._words
    monkeypatch.setattr(model, "_words", lambda texts: asked.append(len(texts)) or real(texts))
    texts = [f"a red car {i}" for i in range(40)]
    first = model.words(texts)
    assert asked == [16, 16, 8] and torch.equal(model.words(texts[::-1]), first.flip(0)) and len(asked) == 3


def where(library, job) -> str:
    """A job's run, as its record says."""
    return (library.folder(job) / "run").relative_to(library.path).as_posix()


def test_a_library_that_grows_while_it_is_scored(tmp_path, monkeypatch, capsys):
    """The records there were are scored; a run that is gone is told, and the others are scored all the same."""
    from dream3d import files
    from dream3d.batch.library import Library
    from dream3d.batch.manifest import Row
    from dream3d.batch.plan import Asked, plan

    library = Library(tmp_path / "lib")
    library.begin(plan([Row(2, "a red car"), Row(3, "a cat"), Row(4, "a blue duck")], Asked(), tmp_path))
    jobs = library.jobs()

    def done(job):
        library.open(job)
        library.finish(job, {"id": job.id, "name": job.name, "state": "done", "prompt": job.prompt, "seed": 0, "run": where(library, job)})

    def of(self, run, prompt):
        if not library.done(jobs[2]):
            done(jobs[2])
        if prompt == "a cat":
            raise Mistake("this run is not finished")
        files.write_json(run / "eval.json", {"scores": {"recognition": 0.5}})
        return {"recognition": 0.5}

    done(jobs[0])
    done(jobs[1])
    monkeypatch.setattr(Evaluation, "of", of)
    assert command.main([str(library.path)]) == 6
    said = capsys.readouterr()
    assert f"rejected: {jobs[1].name}" in said.out and jobs[2].name not in said.out and "not finished" in said.err
    assert library.catalogue()[0]["metrics"] == {"recognition": 0.5}


@pytest.mark.parametrize("break_it", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_is_no_model_is_told(clip, tmp_path, break_it):
    import shutil

    shutil.copytree(clip, tmp_path / "m")
    (tmp_path / "m" / break_it).write_text("{")
    with pytest.raises(Mistake, match="no CLIP model"):
        Likeness(tmp_path / "m")
    with pytest.raises(Mistake, match="no model here"):
        Likeness(tmp_path)


def test_the_best_of_each_prompt_are_marked():
    def row(prompt, seed, value, **more):
        return {"prompt": prompt, "seed": seed, "metrics": {"recognition": value, "janus": 4 - seed, **more}}

    rows = [row("a", 0, 0.5), row("a", 1, 0.9), row("a", 2, 0.9), row("b", 0, 0.1), row("b", 1, None), row("a", 3, 1.0, rejected="empty")]
    assert [one["best"] for one in best.marked(rows, 1, "recognition")] == [False, True, False, True, False, False]
    assert [one["best"] for one in best.marked(rows, 1, "janus")] == [False, False, True, False, True, False]
    with pytest.raises(Mistake, match="no asset has a number"):
        best.marked(rows, 1, "beauty")


def test_gpteval3d_finds_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(layouts, "SIDE", 16)
    folder = layouts.gpteval3d(tmp_path, "mine", ["a cat", "a red ball"], "a red ball", 3, Disc(0.5))
    assert folder == tmp_path / "methods" / "mine" / "1" / "3"
    assert json.loads((tmp_path / "prompts.json").read_text()) == ["a cat", "a red ball"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{kind}_{i}.png" for kind in ("rgb", "normal") for i in range(120))
    rgb, normal = (np.asarray(Image.open(folder / f"{kind}_7.png")) for kind in ("rgb", "normal"))
    assert tuple(rgb[0, 0]) == (255, 255, 255) == tuple(normal[0, 0])
    assert tuple(rgb[8, 8]) == (230, 26, 26) and tuple(normal[8, 8]) == (128, 128, 255)
    with pytest.raises(Mistake, match="does not have"):
        layouts.gpteval3d(tmp_path, "mine", [], "a bus", 0, Disc(0.5))
    (tmp_path / "prompts.json").write_text("{")
    with pytest.raises(Mistake, match="no list of prompts"):
        layouts.gpteval3d(tmp_path, "mine", [], "a bus", 0, Disc(0.5))
    (tmp_path / "prompts.json").unlink()
    with pytest.raises(Mistake, match="method's name"):
        layouts.gpteval3d(tmp_path, "../mine", ["a cat"], "a cat", 0, Disc(0.5))


def test_t3bench_finds_its_mesh(tmp_path):
    """By the pattern that its own script looks for."""
    import trimesh
    from export_scene import Blocks

    prompt = "A fluffy, orange cat's ball/.."
    layouts.t3bench(tmp_path, "sds", "single", prompt, Blocks(), Export(faces=200, texture=32, resolution=24, size=32))
    found = list(tmp_path.glob("outputs_mesh_t3/sds_single/A_fluffy_orange_cat's_ball*/save/it*-export/model.obj"))
    assert len(found) == 1 and len(trimesh.load(found[0], force="mesh").faces) > 20


def test_the_command_wants_a_place_and_a_run(tmp_path):
    with pytest.raises(Mistake, match="where should"):
        command.main([str(tmp_path), "--layout", "t3bench"])
    with pytest.raises(Mistake, match="not a run folder"):
        command.main([str(tmp_path)])
    with pytest.raises(Mistake, match="are none"):
        command.main([str(tmp_path), "--keep-best", "0"])
    assert evaluate.EMPTY < evaluate.FULL


def test_of_several_seeds_each_is_a_method_of_its_own_for_t3bench():
    rows = [{"prompt": "a", "seed": 0}, {"prompt": "a", "seed": 1}, {"prompt": "b", "seed": 0}]
    assert best.methods(rows, "t3bench", "sds") == ["sds-s0", "sds-s1", "sds-s0"]
    assert best.methods(rows, "gpteval3d", "sds") == ["sds"] * 3 and best.methods(rows[1:], "t3bench", "sds") == ["sds"] * 2
    for layout in ("t3bench", "gpteval3d"):
        with pytest.raises(Mistake, match="have seed 1") as told:
            best.methods([*rows, {"prompt": "a", "seed": 1, "recipe": "other"}], layout, "sds")
        assert "--keep-best" in told.value.near


@pytest.mark.parametrize("more", [[], ["--keep-best", "1", "--by", "recognition"]])
def test_what_is_laid_out_of_a_library(tmp_path, monkeypatch, more):
    """Every asset that was not rejected, or the best of each prompt; nothing takes another's place."""
    from dream3d import files
    from dream3d.batch.library import Library
    from dream3d.batch.manifest import Row
    from dream3d.batch.plan import Asked, plan

    library, laid = Library(tmp_path / "lib"), []
    library.begin(plan([Row(2, "a red car", seed=0), Row(3, "a red car", seed=1), Row(4, "a cat", seed=0)], Asked(), tmp_path))
    for job in library.jobs():
        library.open(job)
        record = {"id": job.id, "name": job.name, "state": "done", "prompt": job.prompt, "seed": job.seed, "run": where(library, job)}
        library.finish(job, record)
        files.write_json(library.path / record["run"] / "eval.json", {"scores": {"recognition": job.seed / 2}})
    monkeypatch.setattr(Evaluation, "of", lambda self, run, prompt: {"rejected": "empty" if prompt == "a cat" else None})
    monkeypatch.setattr(command, "_lay_out", lambda given, run, prompt, prompts, method: laid.append((run, method, len(prompts))))
    command.main([str(library.path), "--layout", "t3bench", "--to", str(tmp_path), "--method", "m", *more])
    runs = [library.folder(job) / "run" for job in library.jobs()]
    best_ones = [(runs[1], "m", 3), (runs[2], "m", 3)]
    assert sorted(laid) == sorted(best_ones if more else [(runs[0], "m-s0", 3), (runs[1], "m-s1", 3)])
