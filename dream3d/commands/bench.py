"""`bench`: what was measured, and how to measure it again. Each bench reads its own words and says what it needs with --help."""

import importlib

from dream3d.commands.parser import Parser, one_of

BENCHES = {
    "quality": ("dream3d.bench.quality", "prompts times seeds through the judge: object, colour, silhouette, Janus; with controls"),
    "edits": ("dream3d.bench.edits", "colours changed by the recipe that edits: is the change there, has the silhouette stayed"),
    "binding": ("dream3d.bench.binding", "prompts of two objects: is each in its own colour, by layouts and by one prompt for all"),
    "claims": ("dream3d.bench.claims", "what papers say, as inequalities between numbers, in worlds whose truth is known"),
    "gallery": ("dream3d.bench.gallery", "every recipe's own command and its picture: docs/gallery.md"),
    "motion": ("dream3d.bench.motion", "ten prompts that move: is the motion recognised by optical flow, against true objects"),
    "main-job": ("dream3d.bench.main_job", "the README's command as a whole process: seconds and peak memory"),
    "overhead": ("dream3d.bench.overhead", "shares of a step, recipe by recipe: networks, training, renderer, bookkeeping"),
    "fit": ("dream3d.bench.fit", "each representation fitted to 24 views of a known object: held-out views, seconds"),
    "priors": ("dream3d.bench.priors", "what full-size priors cost: counted without weights, on CUDA measured"),
    "handover": ("dream3d.bench.handover", "what is lost when one representation takes over another's scene"),
    "convert": ("dream3d.bench.convert", "a perceptron that learns a hash grid: how much faster than from pictures, what mining gains"),
    "splats": ("dream3d.bench.splats", "speed and memory of the splat kernels against their twins"),
    "hash": ("dream3d.bench.hash", "speed and memory of the hash grid's kernels against their twin"),
    "mesh": ("dream3d.bench.mesh", "speed and memory of drawing meshes: z-buffer, ends of surfaces, a whole step"),
    "draw": ("dream3d.bench.draw", "speed and memory of drawing each representation, with its way back"),
    "export": ("dream3d.bench.export", "what the export of a run costs: seconds of every step, memory of the process"),
    "bake": ("dream3d.bench.bake", "exported meshes against the scenes of runs: PSNR, silhouettes, seconds and memory of baking"),
    "batch": ("dream3d.bench.batch", "libraries: the layer's share of a job, workers, K jobs at once, Ray, a world of many workers"),
    "toybox": ("dream3d.toybox.bench", "images per second of the toybox renderer"),
}  # fmt: skip


def main(words: list[str]) -> int:
    """Hand the words after the bench's name to it."""
    table = "\n".join(f"  {name:9} {what}" for name, (_, what) in BENCHES.items())
    parser = Parser("bench", f"Measure. The benches, each with its own --help:\n\n{table}",
                    ["bench main-job --runs 3", "bench splats --help", "bench quality --help"])  # fmt: skip
    parser.add_argument("bench", nargs="?", type=one_of(BENCHES, "bench"))
    name = parser.parse_args(words[:1]).bench
    if name is None:
        parser.print_help()
        return 0
    return importlib.import_module(BENCHES[name][0]).main(words[1:]) or 0
