"""`sample`: what the prior makes of a prompt alone, without any scene: is the prior at fault, or the distillation?"""

import math
from pathlib import Path

from dream3d.commands.parser import Parser, plug, plugin
from dream3d.errors import Mistake

SIDES = {"front": (0.0, 15.0), "side": (90.0, 15.0), "back": (180.0, 15.0), "overhead": (30.0, 80.0)}  # degrees


def main(words: list[str]) -> int:
    """Write a grid of pictures: a row per view word, a column per seed."""
    parser = Parser("sample", "Pictures that the prior makes of a prompt alone: a row per view word, a column per seed.",
                    ['sample "a red car"', 'sample "a red car" prior=stable_diffusion prior.model=models/sd --seeds 4',
                     'sample "a red car" --config mvsds-gaussian.yaml --steps 50 --out car.png'])  # fmt: skip
    parser.add_argument("prompt", nargs="?", help='what to draw: "a red car"')
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="prior=NAME, prior.SETTING, negative, text.SETTING, device")
    parser.add_argument("--config", default="sds-gaussian", metavar="NAME", help="the recipe whose prior is asked")
    parser.add_argument("--scale", type=float, default=7.5, help="of guidance; 1 is none")
    parser.add_argument("--steps", type=int, default=25, help="evaluations from noise to picture")
    parser.add_argument("--seeds", type=int, default=2, help="columns")
    parser.add_argument("--out", default="sample.png", metavar="FILE", help="the picture")
    plugin(parser)
    options = parser.parse_intermixed_args(words)
    plug(options.plugin)
    found = _checked(options)
    _draw(found, options)
    print(options.out)
    return 0


def _checked(options):
    """The configuration behind the prior, checked as a run's is, without torch."""
    from dream3d import config, vocabulary

    if options.prompt is None or "=" in options.prompt.split(" ")[0]:
        raise Mistake("there is no prompt", where="command line", fix='python launch.py sample "a red car"')
    for name in ("steps", "seeds"):
        if not 1 <= getattr(options, name) <= 1000:
            raise Mistake(f"--{name} must be 1 to 1000, but it is {getattr(options, name)}", where="command line", near=f"--{name} 4")
    if not math.isfinite(options.scale):
        raise Mistake(f"--scale must be a number, but it is {options.scale}", where="command line", near="--scale 7.5")
    if not Path(options.out).parent.is_dir():
        raise Mistake(f"there is no folder {str(Path(options.out).parent)!r}", where="--out", fix="make it, or name another file")
    if Path(options.out).suffix.lower() != ".png":
        raise Mistake(f"{Path(options.out).name} is not a .png file", where="--out", near="--out sample.png")
    found = config.load(options.config, [f"prompt={options.prompt}", *options.overrides])
    vocabulary.check_vocabulary(found)
    return found


def _draw(found, options) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from dream3d import build, files
    from dream3d.options import Words
    from dream3d.progress import Display
    from dream3d.prompt import Prompt
    from dream3d.run import device_named
    from dream3d.sampling import sample

    stage, device = found.stages[0], device_named(found.values["device"])
    prior = build.make("priors", stage["prior"]).to(device)
    prompts = stage["prompt"] if isinstance(stage["prompt"], list) else [stage["prompt"]]
    text, cameras = Prompt(prior, prompts, stage["negative"], Words(**stage["text"])), _cameras(prior).to(device)
    columns = []
    with Display(quiet=False) as show:
        show.begin("sample", options.seeds * options.steps)
        for k in range(options.seeds):
            told = lambda share, k=k: show.step(round((k + share) * options.steps), f"seed {k + 1} of {options.seeds}")  # noqa: E731
            columns.append(sample(prior, text(cameras), cameras, scale=options.scale, steps=options.steps, seed=k, told=told))
    picture = torch.cat([torch.cat(list(column[..., :3]), 0) for column in columns], 1).clamp(0, 1)
    if not picture.isfinite().all():
        raise Mistake("what this prior answers are no numbers", where="prior", fix="prior.precision=float32, or another model", code=3)
    with files.replacing(Path(options.out)) as path:
        Image.fromarray((picture.cpu().numpy() * 255).round().astype(np.uint8)).save(path, format="PNG")


def _cameras(prior):
    """A view of every word, or a group as the prior knows it."""
    import torch

    from dream3d.cameras import look_at, ring

    if (together := prior.spec.views * prior.spec.frames) == 1:
        azimuth, elevation = (torch.tensor([math.radians(side[i]) for side in SIDES.values()]) for i in (0, 1))
        return look_at(azimuth, elevation, size=prior.spec.pixels)
    time = torch.linspace(0, 1, prior.spec.frames).repeat(prior.spec.views) if prior.spec.frames > 1 else None
    one = ring(prior.spec.views, size=prior.spec.pixels).at(torch.arange(prior.spec.views).repeat_interleave(prior.spec.frames))
    return type(one)(**{**vars(one), "views": prior.spec.views, "frames": prior.spec.frames, "time": time}) if together > 1 else one
