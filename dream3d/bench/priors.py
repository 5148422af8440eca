"""What one evaluation of a full-size prior costs: python launch.py bench priors [NAME ...] [--device cuda] [--out priors.json]

Parameters and floating-point operations are counted on networks built from their published configurations, without weights: TFLOP of one
row of eps (a clip counts as one row, four joined views as four), and of encoding one image and taking the gradient back to it. With
--device cuda untrained networks in bfloat16 are timed too: milliseconds, peak memory, and the share of what a large matrix product reaches
on that card. Four rows at once, best of five.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dream3d.bench.published import NETWORKS
from dream3d.commands.parser import Parser, one_of
from dream3d.files import write_json

ROWS, ROUNDS, MATMUL = 4, 5, 8192
GOAL = 0.5  # of the peak, SD 2.1 at 512 pixels, four views


@dataclass(frozen=True)
class Case:
    """net and vae: names of published networks (vae None: pixels); x: one row; ask(net, x, like): one evaluation; pixels: a side of what is
    encoded, frames of it; beside: a second network, asked before; per: rows that one evaluation of x is."""

    net: str
    x: tuple[int, ...]
    ask: Callable
    pixels: int
    vae: str | None = "sd autoencoder"
    frames: int = 1
    beside: str | None = None


def unet(net: nn.Module, x: Tensor, like: Callable, *, width: int, tokens: int = 77, **more) -> Tensor:
    told = {"added_cond_kwargs": {"text_embeds": like(len(x), 1280), "time_ids": like(len(x), 6)}} if width == 2048 else {}
    texts = len(x) if x.ndim == 4 or width == 1024 else len(x) * x.shape[2]
    return net(x, like(len(x)), like(texts, tokens, width), **told, **more).sample


def controlled(net: nn.Module, x: Tensor, like: Callable, *, beside: nn.Module) -> Tensor:
    text, picture = like(len(x), 77, 768), like(len(x), 3, 8 * x.shape[-2], 8 * x.shape[-1])
    down, middle = beside(x, like(len(x)), text, picture, return_dict=False)
    return unet(net, x, like, width=768, down_block_additional_residuals=down, mid_block_additional_residual=middle)


def sd3(net: nn.Module, x: Tensor, like: Callable) -> Tensor:
    return net(x, like(len(x), 333, 4096), like(len(x), 2048), like(len(x))).sample


def zimage(net: nn.Module, x: Tensor, like: Callable) -> Tensor:
    return torch.stack(net(list(x[:, :, None]), like(len(x)), [like(128, 2560) for _ in x], return_dict=False)[0])


def klein(net: nn.Module, x: Tensor, like: Callable) -> Tensor:
    return net(x, like(len(x), 512, 7680), like(len(x)), like(len(x), x.shape[1], 4), like(len(x), 512, 4)).sample


def wan(net: nn.Module, x: Tensor, like: Callable) -> Tensor:
    return net(x, like(len(x)), like(len(x), 512, 4096)).sample


def joined(net: nn.Module, x: Tensor, like: Callable) -> Tensor:
    rows = x.flatten(0, 1)
    return net(rows, like(len(rows)).long(), like(len(rows), 77, 1024), 4, like(len(rows), 16))


CASES = {
    "sd-1.5, 512": Case("sd-1.5 unet", (4, 64, 64), partial(unet, width=768), 512),
    "sd-2.1, 512": Case("sd-2.1 unet", (4, 64, 64), partial(unet, width=1024), 512),
    "sd-2 inpainting, 512": Case("sd-2-inpainting unet", (9, 64, 64), partial(unet, width=1024), 512),
    "sd-1.5 + controlnet, 512": Case("sd-1.5 unet", (4, 64, 64), controlled, 512, beside="controlnet sd-1.5"),
    "zero123, 256": Case("zero123 unet", (8, 32, 32), partial(unet, width=768, tokens=1), 256),
    "mvdream, 4 x 256": Case("mvdream unet", (4, 4, 32, 32), joined, 256, frames=4),
    "sdxl, 1024": Case("sdxl unet", (4, 128, 128), partial(unet, width=2048), 1024),
    "deepfloyd if-i-xl, 64": Case("if-i-xl unet", (3, 64, 64), partial(unet, width=4096), 64, None),
    "sd-3.5 medium, 1024": Case("sd-3.5-medium transformer", (16, 128, 128), sd3, 1024, "16-channel autoencoder"),
    "z-image, 1024": Case("z-image transformer", (16, 128, 128), zimage, 1024, "16-channel autoencoder"),
    "flux.2 klein 4b, 1024": Case("flux.2-klein-4b transformer", (4096, 128), klein, 1024, "flux.2 autoencoder"),
    "animatediff, 16 x 512": Case("animatediff-v3 unet", (4, 16, 64, 64), partial(unet, width=768), 512, frames=16),
    "modelscope, 16 x 256": Case("modelscope unet", (4, 16, 32, 32), partial(unet, width=1024), 256, frames=16),
    "wan 2.1 1.3b, 17 x 480": Case("wan-2.1-1.3b transformer", (16, 5, 60, 60), wan, 480, "wan autoencoder", frames=17),
}


def filler(device: str, dtype=torch.float32) -> Callable:
    """Inputs of any shape; untrained networks do not care what they say."""
    return lambda *shape: torch.full(shape, 0.5, device=device, dtype=dtype)


def evaluation(case: Case, net: nn.Module, beside: nn.Module | None, rows: int, like: Callable) -> Callable[[], Tensor]:
    more = {} if beside is None else {"beside": beside}
    return torch.no_grad()(lambda: case.ask(net, like(rows, *case.x), like, **more))


def encoding(case: Case, vae: nn.Module, rows: int, like: Callable) -> Callable[[], None]:
    """Images, or clips, to latents and the gradient back to them."""
    clip = case.vae == "wan autoencoder"
    shape = (rows, 3, case.frames, case.pixels, case.pixels) if clip else (rows, 3, case.pixels, case.pixels)

    def both() -> None:
        z = vae.encode(like(*shape).requires_grad_()).latent_dist.mode()
        z.backward(like(*z.shape))

    return both


def tera(work: Callable) -> float:
    """1e12 floating-point operations; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e12


def count(name: str) -> dict:
    """A row of the table: numbers that need no device."""
    case, like = CASES[name], filler("meta")
    net, beside, vae = (None if key is None else NETWORKS[key].build() for key in (case.net, case.beside, case.vae))
    millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (net, beside) if part is not None]
    row = {"prior": name, "parameters_m": sum(millions), "tflop_eps": tera(evaluation(case, net, beside, 1, like))}
    return row | {"tflop_encode": None if vae is None else tera(encoding(case, vae, 1, like))}


def measure(name: str, row: dict, device: str, peak: float) -> dict:
    """The same row with milliseconds and shares of `peak` (TFLOP/s) on a device, ROWS rows at once (clips one by one)."""
    case, like = CASES[name], filler(device, torch.bfloat16)
    rows = 1 if case.frames > 1 else ROWS
    names = (case.net, case.beside, case.vae)
    net, beside, vae = (None if key is None else NETWORKS[key].build(device).to(torch.bfloat16) for key in names)
    seconds, memory = clocked(evaluation(case, net, beside, rows, like))
    found = {"rows": rows, "ms_eps": 1e3 * seconds, "share_eps": rows * row["tflop_eps"] / seconds / peak, "gb_eps": memory}
    if vae is not None:
        seconds, memory = clocked(encoding(case, vae, rows, like))
        found |= {"ms_encode": 1e3 * seconds, "share_encode": rows * row["tflop_encode"] / seconds / peak, "gb_encode": memory}
    del net, beside, vae
    gc.collect()
    torch.cuda.empty_cache()
    return row | found


def clocked(work: Callable) -> tuple[float, float]:
    """Seconds, the best of some rounds after one that warms up, and the peak of memory in GB."""
    work()
    torch.cuda.reset_peak_memory_stats()
    best = min(_seconds(work) for _ in range(ROUNDS))
    return best, torch.cuda.max_memory_allocated() / 1e9


def _seconds(work: Callable) -> float:
    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def matmul_peak(device: str) -> float:
    """TFLOP/s of one large product in bfloat16: what is reached, not what is printed on the box."""
    a = torch.randn(MATMUL, MATMUL, device=device, dtype=torch.bfloat16)
    return 2 * MATMUL**3 / 1e12 / clocked(lambda: a @ a)[0]


def shown(row: dict) -> str:
    encode = "      -" if row["tflop_encode"] is None else f"{row['tflop_encode']:7.2f}"
    line = f"{row['prior']:26} {row['parameters_m']:8.0f} {row['tflop_eps']:8.3f} {encode}"
    if "ms_eps" in row:
        line += f" {row['rows']:4} {row['ms_eps']:9.1f} {100 * row['share_eps']:4.0f} % {row['gb_eps']:6.1f}"
    if "ms_encode" in row:
        line += f" {row['ms_encode']:9.1f} {100 * row['share_encode']:4.0f} % {row['gb_encode']:6.1f}"
    return line


def main(words: list[str]) -> int:
    parser = Parser("bench priors", "What full-size priors cost, counted; on CUDA measured too.",
                    ["bench priors 'sd-2.1, 512'", "bench priors --device cuda --out priors.json"])  # fmt: skip
    parser.add_argument("names", nargs="*", type=one_of(CASES, "prior"))
    parser.add_argument("--device", type=one_of(("cpu", "cuda"), "device"), default="cpu", help="cpu: count only")
    parser.add_argument("--out", type=Path)
    wanted, rows = parser.parse_args(words), []
    peak = matmul_peak("cuda") if wanted.device == "cuda" else None
    more = "" if peak is None else f" rows; ms, share of the product's {peak:.0f} TFLOP/s, GB: eps, encode"
    print(f"{'prior':26} {'millions':>8} {'TF eps':>8} {'TF enc':>7}{more}")
    for name in wanted.names or CASES:
        row = count(name)
        rows.append(row if peak is None else measure(name, row, "cuda", peak))
        print(shown(rows[-1]), flush=True)
    if wanted.out:
        write_json(wanted.out, {"matmul_tflops": peak, "rows": rows})
    return 0
