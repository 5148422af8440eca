"""The commands. One module each, with `main(words) -> exit code`; its name is the command, this table what `help` says of it."""

import importlib

from dream3d.errors import Mistake, nearest

COMMANDS = {
    "generate": 'make an asset: --config sds-gaussian.yaml prompt="a red car" (what happens without a command)',
    "resume": "continue a run where it stopped",
    "export": "write the files of a run again",
    "view": "look at a run or a file in the browser, also while it works: view duck --live",
    "ui": "a web page on this machine: prompt, settings, queue, past runs",
    "blender": "what Blender makes of a file; quads; a folder for its asset browser",
    "convert": "a run or a file as another representation: convert duck --to hashgrid",
    "list": "what there is: guidances, renderers, priors, recipes, models, ...",
    "describe": "one of them: what it does, its settings, the paper, an example",
    "sample": "pictures that the prior makes of a prompt alone: is the prior at fault, or the distillation?",
    "config": "show, compare and describe configurations: show, diff, schema",
    "doctor": "what is installed, what each part will run on and why, what to install",
    "cite": "BibTeX of exactly what a run, a recipe or a part uses",
    "new": "a formula of your own that works, to be changed: its file, a proof, a recipe",
    "compare": "formulas or recipes over prompts and seeds, scored against the truth, on one page",
    "batch": "a list of prompts to a library of assets: what is missing is made, on one machine or many",
    "eval": "scores of a run or a library: recognition, likeness, health; the best of several seeds",
    "bench": "measure: quality, speed, memory",
    "completion": "a script that lets a shell complete all of this",
    "help": "this list, or the help of one command",
}
HIDDEN = {"complete"}  # what completion scripts call


def run(words: list[str]) -> int:
    """Call the command that the first word names, with the words after it. Raises Mistake where there is none of that name."""
    first = words[0] if words else ""
    if first in COMMANDS or first in HIDDEN:
        return importlib.import_module(f"dream3d.commands.{first}").main(words[1:])
    if words and not first.startswith("-") and "=" not in first:
        raise stray(first)
    return importlib.import_module("dream3d.commands.generate").main(words)


def stray(word: str) -> Mistake:
    """What a lone word may have meant: a command, a recipe, or a prompt."""
    from dream3d import build
    from dream3d.commands.parser import SAMPLES, setting

    recipes = {path.stem for path in build.place("configs").glob("*.yaml")}
    if word in COMMANDS:
        return Mistake(f"the command {word!r} comes first", where="command line", fix=f"python launch.py {word} ...")
    if word.removesuffix(".yaml").rpartition("/")[2] in recipes or word.endswith((".yaml", ".yml")):
        return Mistake(f"there is no command {word!r}", where="command line", fix=f"--config {word}")
    if " " in word.strip():
        return Mistake(f"{word!r} is neither a command nor key=value", where="command line",
                       fix=f'--config sds-gaussian.yaml prompt="{word.strip()}"')  # fmt: skip
    if key := setting(word):
        return Mistake(
            f"{word!r} has no value",
            where="command line",
            fix=f"{key}={SAMPLES.get(key, 'VALUE')} (no spaces around =)",
        )
    close = nearest(word, COMMANDS)
    return Mistake(f"there is no command {word!r}", where="command line", near=", ".join(close or COMMANDS),
                   fix='settings are written key=value, such as prompt="a red car"')  # fmt: skip
