"""What is fetched of a repository, and when: all that is read and nothing twice; an interrupted download is taken up again."""

import shutil

import pytest

from dream3d.errors import Mistake
from dream3d.priors import _hub

from .conftest import stable_diffusion

READ = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors",
        "text_encoder_3/model-00001-of-00002.safetensors", "text_encoder_3/model.safetensors.index.json", "tokenizer/vocab.json",
        "tokenizer/merges.txt", "tokenizer_3/spiece.model", "tokenizer/chat_template.jinja", "diffusion_pytorch_model.safetensors",
        "scheduler/scheduler_config.json", "transformer/diffusion_pytorch_model-00001-of-00003.safetensors"]  # fmt: skip
UNREAD = ["v1-5-pruned-emaonly.safetensors", "sd_xl_base_1.0.safetensors", "sd3.5_medium.safetensors", "taesd_encoder.safetensors",
          "text_encoders/t5xxl_fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "pipeline.py", "vae/vae.onnx",
          "text_encoder/model.fp16-00001-of-00002.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
          "unet/diffusion_pytorch_model.bin", "safety_checker/model.safetensors", "vae_1_0/model.safetensors"]  # fmt: skip


def test_all_that_is_read_is_fetched_and_nothing_twice():
    from huggingface_hub.utils import filter_repo_objects

    got = list(filter_repo_objects(READ + UNREAD, allow_patterns=list(_hub.FILES), ignore_patterns=list(_hub.UNREAD)))
    assert got == READ


@pytest.fixture
def model(tmp_path):
    return stable_diffusion(tmp_path / "model")


def found(monkeypatch, cached, fetched):
    """What is read where the cache has one folder and the hub another."""
    monkeypatch.setattr(_hub, "_snapshot", lambda repo, revision, offline: (cached if offline else fetched, "offline"))
    return _hub.locate("somebody/thing", "stable_diffusion").path


@pytest.mark.parametrize("lacks", ["unet/diffusion_pytorch_model.safetensors", "tokenizer", "text_encoder"])
def test_an_interrupted_download_is_taken_up_again(model, tmp_path, monkeypatch, lacks):
    torn = shutil.copytree(model, tmp_path / "torn")
    assert found(monkeypatch, torn, model) == torn
    shutil.rmtree(torn / lacks) if (torn / lacks).is_dir() else (torn / lacks).unlink()
    assert found(monkeypatch, torn, model) == model
    assert found(monkeypatch, torn, None) == torn  # and what is missing is said by what reads it


def test_a_published_file_that_is_missing_is_said(model):
    with pytest.raises(Mistake, match="other.safetensors is missing"):
        _hub._verify(model, {"unet/other.safetensors": "0" * 64})
