"""Full-size architectures without weights: as many numbers as their makers published, and what one evaluation costs."""

import pytest
import torch

from dream3d import build
from dream3d.bench import priors as bench
from dream3d.bench.published import NETWORKS
from dream3d.priors._lora import Student

FILES = {"modelscope unet": 5.65e9, "animatediff-v3 adapter": 1_670_875_648}  # bytes of float32


def numbers(module) -> int:
    return sum(v.numel() for v in [*module.parameters(), *module.buffers()])


@pytest.mark.parametrize("name", [name for name, known in NETWORKS.items() if known.count])
def test_as_many_parameters_as_published(name):
    assert sum(p.numel() for p in NETWORKS[name].build().parameters()) == NETWORKS[name].count


@pytest.mark.parametrize("name", FILES)
def test_as_many_numbers_as_the_published_file_holds(name):
    assert 4 * numbers(NETWORKS[name].build()) == pytest.approx(FILES[name], rel=1e-3)


def test_networks_that_are_others_with_more_inputs():
    plain, zero = (NETWORKS[f"{name} unet"].build() for name in ("sd-1.5", "zero123"))
    assert numbers(zero) - numbers(plain) == 4 * 320 * 9
    sd2, mv = NETWORKS["sd-2.1 unet"].build(), NETWORKS["mvdream unet"].build()
    camera = 16 * 1280 + 1280 + 1280 * 1280 + 1280  # two layers that hear the pose
    assert sum(p.numel() for p in mv.parameters()) - sum(p.numel() for p in sd2.parameters()) == camera
    assert sum(p.numel() for p in NETWORKS["if-i-xl unet"].build().parameters()) == pytest.approx(4.3e9, rel=2e-3)


@pytest.mark.parametrize("name", ["sd-1.5 unet", "sd-2.1 unet", "sdxl unet", "sd-3.5-medium transformer", "wan-2.1-1.3b transformer"])
def test_a_student_adds_less_than_a_tenth(name):
    base = NETWORKS[name].build()
    before = sum(p.numel() for p in base.parameters())
    time = "time_text_embed" if "3.5" in name else "condition_embedder" if "wan" in name else "time_embedding"
    with torch.device("meta"):
        student = Student(build.make("priors", {"type": "mixture"}), base, rank=4, time=time)
    added = sum(p.numel() for p in student.parameters() if p.requires_grad)
    assert 0 < added < 0.1 * before


def test_what_a_step_with_stable_diffusion_2_costs():
    """Guided noise of one 512 pixel view 1.61 TFLOP, its encoding and the gradient 2.27: the numbers a step is planned by."""
    row = bench.count("sd-2.1, 512")
    assert 2 * row["tflop_eps"] == pytest.approx(1.61, rel=0.01) and row["tflop_encode"] == pytest.approx(2.27, rel=0.01)


@pytest.mark.parametrize("name", ["sd-1.5 + controlnet, 512", "mvdream, 4 x 256", "z-image, 1024", "modelscope, 16 x 256"])
def test_every_kind_of_network_takes_what_it_is_given(name):
    case, like = bench.CASES[name], bench.filler("meta")
    beside = None if case.beside is None else NETWORKS[case.beside].build()
    out = bench.evaluation(case, NETWORKS[case.net].build(), beside, 1, like)()
    assert out.numel() == torch.Size(case.x).numel()
