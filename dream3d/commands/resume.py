"""`resume`: continue a run where it stopped."""

from pathlib import Path

from dream3d.commands.generate import start
from dream3d.commands.parser import Parser, common, plug, stored


def main(words: list[str]) -> int:
    """Continue with the configuration in the folder."""
    parser = Parser("resume", "Continue a run where it stopped, after Ctrl-C, a kill or a power cut. A finished run is left as it is.",
                    ["resume runs/sds-gaussian/20261121-101500-a-red-car-1f2e3d4c", "resume duck"])  # fmt: skip
    parser.add_argument("run", type=Path, help="the run's folder")
    common(parser)
    options = parser.parse_args(words)
    plug(options.plugin)
    return start(stored(options.run), quiet=options.quiet, path=options.run)
