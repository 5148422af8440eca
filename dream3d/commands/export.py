"""`export`: the files of a run once more, from its newest checkpoint."""

from pathlib import Path

from dream3d.commands.parser import Parser, common, plug, stored


def main(words: list[str]) -> int:
    """Write the export folder of a run anew, with other settings where they are given."""
    parser = Parser("export", "Write a run's files again, from its newest checkpoint.",
                    ["export duck", "export duck faces=5000 texture=512"])  # fmt: skip
    parser.add_argument("run", type=Path, help="the run's folder")
    common(parser)
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of the export section: faces=5000 texture=512"
    )
    options = parser.parse_intermixed_args(words)
    plug(options.plugin)
    stored(options.run)
    found = stored(options.run, [f"export.{text}" for text in options.overrides])

    from dream3d.api import load
    from dream3d.export.asset import export as write
    from dream3d.export.asset import pages
    from dream3d.folder import lock
    from dream3d.options import Export

    facts = {"prompt": found.values["prompt"], "seed": found.values["seed"], "recipe": found.values["name"]}
    scene = load(options.run).scene
    with lock(options.run):
        done = write(scene, options.run / "export", Export(**found.values["export"]), extras=facts)
        done |= pages(options.run, done, facts["prompt"])
    for path in done.values():
        print(path)
    return 0
