"""`cite`: BibTeX of exactly what was used."""

from pathlib import Path

from dream3d import bibliography, catalogue, config
from dream3d.bibliography import OWN
from dream3d.commands.parser import Parser, plug, plugin
from dream3d.errors import Mistake


def main(words: list[str]) -> int:
    """Print the entries of everything named, this project's first; a comment above each says which part owes it."""
    parser = Parser("cite", "BibTeX of exactly what a run, a recipe or a part uses, and of dream3d itself.",
                    ["cite runs/sds-gaussian/20261121-101500-a-red-car-1f2e3d4c", "cite --config sds-gaussian.yaml > used.bib",
                     "cite sds gaussians"])  # fmt: skip
    parser.add_argument("what", nargs="*", metavar="RUN|CONFIG|NAME", help="run folders, YAML files, recipes, names of parts")
    parser.add_argument("--config", action="append", default=[], metavar="NAME", help="a YAML file or a recipe")
    plugin(parser)
    options = parser.parse_intermixed_args(words)
    plug(options.plugin)
    owed = [bibliography.of_config(config.load(name).stages) for name in options.config]
    owed += [_owed(word) for word in options.what]
    print(bibtex(bibliography.merged(owed)), end="")
    return 0


def _owed(word: str) -> dict[str, list[str]]:
    """What a run folder, a YAML file, a recipe or a part owes."""
    run = Path(word) / "config.yaml"
    if config.there(run):
        return bibliography.of_config(config.load(str(run)).stages)
    if word.endswith((".yaml", ".yml")) or word in catalogue.names("configs"):
        return bibliography.of_config(config.load(word).stages)
    return bibliography.merged([bibliography.of_entry(entry) for entry in catalogue.find(word)])


def bibtex(owed: dict[str, list[str]]) -> str:
    """Entries as text. Raises Mistake where a part names a paper that assets/papers.bib lacks."""
    known = bibliography.papers()
    texts = [f"% this software\n{known[OWN].text}\n"]
    for identifier, parts in owed.items():
        if identifier not in known:
            raise Mistake(f"arXiv:{identifier} has no entry in assets/papers.bib", where=", ".join(parts),
                          fix=f"add one with eprint = {{{identifier}}}")  # fmt: skip
        texts.append(f"% {', '.join(parts)}\n{known[identifier].text}\n")
    return "\n".join(texts)
