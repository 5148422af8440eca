"""`convert`: a finished run or a file as another representation, by distillation. It writes a configuration; the rest is a run."""

import re
from pathlib import Path

from dream3d.commands.parser import Parser, common, one_of, plug
from dream3d.errors import Mistake

RECIPE = "distil-gaussian"
EXAMPLES = ["convert duck --to hashgrid", "convert car.glb --to gaussians count=5000 --steps 500 --out car-splats",
            "convert duck --to mesh --from-scratch seed=3",
            "convert duck --to voxels --merge hat.glb --mask -0.3,-0.3,0.2,0.3,0.3,0.7"]  # fmt: skip
NUMBER = r"-?(\d+\.?\d*|\.\d+)"


def main(words: list[str]) -> int:
    """Check, write the configuration, run it."""
    from dream3d import build

    names = build.available("renderers")
    parser = Parser("convert", "Convert a finished run, or a GLB, glTF, OBJ or PLY file, into another representation.", EXAMPLES)
    parser.add_argument("scene", metavar="RUN_OR_FILE", help="a run's folder, or a file")
    parser.add_argument("--to", required=True, metavar="NAME", help=", ".join(names))
    parser.add_argument("--out", metavar="FOLDER", help="of the new run; otherwise one in runs/convert")
    parser.add_argument("--steps", type=int, help="of the distillation (300)")
    parser.add_argument("--from-scratch", action="store_true", help="the new scene begins with nothing of the old one")
    parser.add_argument("--merge", metavar="RUN_OR_FILE", help="what is laid over the first within the mask")
    parser.add_argument("--mask", help="cut (where they differ; the default), a box x,y,z,X,Y,Z in metres, a closed mesh, or a "
                        ".safetensors grid of mask or weights")  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="check; print the complete configuration; stop")
    common(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the new representation, or seed, device, section.key")
    options = parser.parse_intermixed_args(_glued(words))
    plug(options.plugin)
    one_of(build.available("renderers"), "representation")(options.to)
    found = configuration(options)
    if options.dry_run:
        from dream3d.sketch import dry_run

        print(dry_run(found), end="")
        return 0
    from dream3d.commands.generate import start

    return start(found, quiet=options.quiet)


def configuration(options):
    """The checked configuration of a conversion. Raises Mistake for what is wrong, before torch is imported."""
    from dream3d import config, needs
    from dream3d.convert import source

    told, mask = source.about(options.scene), _mask(options)
    digests = [source.digest(options.scene), source.digest(options.merge) if options.merge else "", _digest(mask)]
    settings = {"name": "convert", "system.teacher": options.scene, "system.merge": options.merge, "system.mask": mask,
                "system.start": "nothing" if options.from_scratch else "handover", "out": options.out}  # fmt: skip
    settings |= {"steps": options.steps} if options.steps is not None else {}
    while digests and not digests[-1]:
        digests.pop()
    given = [f"renderer={options.to}", *(_setting(text) for text in options.overrides)]
    settings |= {} if any(text.startswith("prompt=") for text in given) else {"prompt": told["prompt"]}
    settings = {"system.digests": digests, **{key: value for key, value in settings.items() if value is not None}}
    found = config.load(RECIPE, given, settings)
    needs.check_needs(found)
    return found


def _setting(text: str) -> str:
    """A key of a configuration as it is, any other one of the new representation's."""
    from dream3d import build, check

    key, equals, _ = text.partition("=")
    if not equals and key in build.available("renderers"):
        raise Mistake(f"{text!r} is not key=value", where="command line", fix=f"--to {text}")
    return text if key.split(".")[0] in check.DEFAULTS or not equals else f"renderer.{text}"


def _mask(options) -> str | list[float] | None:
    """"cut", six numbers, or a file that is there."""
    mask = options.mask
    if mask is None or options.merge is None:
        if mask is not None:
            raise Mistake("a mask is for merging", where="--mask", fix="--merge RUN_OR_FILE")
        return None
    if re.fullmatch(rf"({NUMBER},){{5}}{NUMBER}", mask.replace(" ", "")):
        ends = [float(number) for number in mask.split(",")]
        if not all(low < high for low, high in zip(ends[:3], ends[3:], strict=True)):
            raise Mistake(f"the box {mask} has no inside: it is x,y,z,X,Y,Z with x < X, y < Y, z < Z", where="--mask",
                          near="-0.2,-0.2,0,0.2,0.2,0.5")  # fmt: skip
        return ends
    from dream3d import config
    from dream3d.foreign import files

    path = Path(mask)
    if mask != "cut" and not config.there(path):
        raise Mistake(f"there is no mask {mask!r}", where="--mask", near="cut, -0.2,-0.2,0,0.2,0.2,0.5",
                      fix="or a file: a closed mesh, a .safetensors grid")  # fmt: skip
    if mask != "cut" and path.suffix.lower() != ".safetensors":
        files.kind(path)
    return mask


def _digest(mask: str | list[float] | None) -> str:
    from dream3d.foreign import files

    return files.digest(Path(mask)) if isinstance(mask, str) and mask != "cut" else ""


def _glued(words: list[str]) -> list[str]:
    """--mask -0.2,... as one word: a value that begins with a dash looks like an option."""
    out = list(words)
    for i, word in enumerate(out[:-1]):
        if word == "--mask" and re.match(r"-[\d.]", out[i + 1]):
            return [*out[:i], f"--mask={out[i + 1]}", *out[i + 2 :]]
    return out
