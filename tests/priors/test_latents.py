"""What autoencoders do beyond the contract: the posterior's mean as each pipeline scales it, sizes, precision, distilled encoders."""

import json

import pytest
import torch

from dream3d import build
from dream3d.errors import Mistake

from .conftest import diffusers, flux2, sd3, sdxl, stable_diffusion, vae


def made(kind, model, **settings):
    return build.make("priors", {"type": kind, "model": str(model), **settings})


@pytest.fixture(scope="module")
def sd(tmp_path_factory):
    return stable_diffusion(tmp_path_factory.mktemp("latents") / "model")


def test_a_distilled_encoder_answers_in_the_models_latents(sd, tmp_path):
    small = diffusers.AutoencoderTiny(latent_channels=4, encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
                                      num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))  # fmt: skip
    small.save_pretrained(tmp_path / "tiny")
    plain, quick = made("stable_diffusion", sd), made("stable_diffusion", sd, tiny=str(tmp_path / "tiny"))
    image = torch.rand(1, 32, 32, 3).requires_grad_()
    x = quick.encode(image)
    torch.testing.assert_close(x, small.eval().encode(2 * image.movedim(-1, 1) - 1).latents)
    assert x.shape == plain.encode(image).shape and torch.autograd.grad(x.sum(), image)[0].abs().max() > 0


def test_latents_are_the_posteriors_mean_scaled(sd):
    prior = made("stable_diffusion", sd)
    image = torch.rand(2, 32, 32, 3)
    with torch.no_grad():
        posterior = vae().eval().encode(2 * image.movedim(-1, 1) - 1).latent_dist
        torch.testing.assert_close(prior.encode(image), 0.18215 * posterior.mean, rtol=0, atol=1e-5)
        large = torch.rand(1, 80, 80, 3)  # whose fine detail is averaged, not skipped
        small = torch.nn.functional.interpolate(large.movedim(-1, 1), (32, 32), mode="bilinear", antialias=True).movedim(1, -1)
        torch.testing.assert_close(prior.encode(large), prior.encode(small), rtol=0, atol=1e-5)


def test_latents_are_shifted_before_they_are_scaled(tmp_path):
    """As the pipelines of flows encode and decode: (mean - shift) scale, and x / scale + shift."""
    prior = made("flow", sd3(tmp_path / "model"), tokens=16)
    auto, image = vae(shift_factor=0.06, scaling_factor=1.5).eval(), torch.rand(1, 32, 32, 3)
    with torch.no_grad():
        x = (auto.encode(2 * image.movedim(-1, 1) - 1).latent_dist.mean - 0.06) * 1.5
        torch.testing.assert_close(prior.encode(image), x, rtol=0, atol=1e-5)
        torch.testing.assert_close(prior.decode(x), (auto.decode(x / 1.5 + 0.06).sample.movedim(1, -1) + 1) / 2, rtol=0, atol=1e-5)


def test_sdxl_is_told_a_size_and_keeps_its_autoencoder_from_overflowing(tmp_path):
    folder = sdxl(tmp_path / "model")
    plain, same, other = (made("sdxl", folder, **more) for more in ({}, {"told": 32}, {"told": 1024}))
    z, t, text = torch.randn(2, 4, 16, 16), torch.tensor([0.3, 0.8]), plain.text(["a red car", "a duck"])
    assert torch.equal(same.eps(z, t, text), plain.eps(z, t, text)) and (other.eps(z, t, text) - plain.eps(z, t, text)).abs().max() > 1e-5
    half = made("sdxl", folder, precision="float16")
    assert (half.net.dtype, half.vae.vae.dtype) == (torch.float16, torch.float32)
    config = folder / "vae" / "config.json"  # that of an autoencoder mended for half precision
    config.write_text(json.dumps(json.loads(config.read_text()) | {"force_upcast": False}))
    assert made("sdxl", folder, precision="float16").vae.vae.dtype == torch.float16


def test_packed_latents_are_the_pipelines(tmp_path):
    """FLUX.2's: 2 x 2 places as channels, each normalised as its autoencoder learnt."""
    prior, pipe = made("flow", flux2(tmp_path / "model"), tokens=16, size=32), diffusers.Flux2KleinPipeline
    auto, image = prior.vae.vae, torch.rand(1, 32, 32, 3)
    with torch.no_grad():
        packed = pipe._patchify_latents(auto.encode(2 * image.movedim(-1, 1) - 1).latent_dist.mode())
        mean, variance = (v.view(1, -1, 1, 1) for v in (auto.bn.running_mean, auto.bn.running_var))
        x = (packed - mean) / (variance + auto.config.batch_norm_eps).sqrt()
        torch.testing.assert_close(prior.encode(image), x, rtol=0, atol=2e-6)
        picture = auto.decode(pipe._unpatchify_latents(packed)).sample.movedim(1, -1) / 2 + 0.5
        torch.testing.assert_close(prior.decode(x), picture, rtol=0, atol=1e-5)


def test_another_size_is_another_latent(sd):
    prior = made("stable_diffusion", sd, size=64)
    assert (prior.spec.size, prior.spec.pixels) == (32, 64) and prior.encode(torch.rand(1, 20, 20, 3)).shape[-1] == 32


def test_packed_latents_have_no_distilled_encoder(tmp_path):
    small = diffusers.AutoencoderTiny(latent_channels=4, encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
                                      num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1))  # fmt: skip
    small.save_pretrained(tmp_path / "tiny")
    with pytest.raises(Mistake, match="packed and normalised"):
        made("flow", flux2(tmp_path / "model"), size=32, tiny=str(tmp_path / "tiny"))
