"""What a prior can understand, checked before any work and without torch."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from dream3d import build, models, parts
from dream3d.config import Config
from dream3d.errors import Mistake, choices


def check_vocabulary(config: Config) -> None:
    """A prior with a limited vocabulary says, before any work, which words of the prompts it does not know."""
    several = len(config.values["stages"]) > 0
    for i, stage in enumerate(config.stages):
        module = _language(stage["prior"])
        if module is not None:
            for path, prompt in _prompts(stage):
                try:
                    _check(stage, path, prompt, importlib.import_module(module))
                except Mistake as mistake:
                    own = f"stages.{i}.{path}" if several else path
                    where = config.where(own if own in config.origins else path)
                    raise mistake.completed(where=where or repr(prompt[:60])) from None


def heard(config: Config) -> Callable[[str], None]:
    """A check of prompts that may stand in the place of this configuration's: raises Mistake for what a prior does not know."""
    named = [(stage, _language(stage["prior"])) for stage in config.stages]
    known = [(stage, importlib.import_module(module)) for stage, module in named if module is not None]

    def check(prompt: str) -> None:
        for stage, language in known:
            _check(stage, "prompt", prompt, language)

    return check


def _language(prior: dict[str, Any]) -> str | None:
    """The module of the words that a prior knows, by its kind or by what its model was trained on; None: there is no telling."""
    own, model = build.signature("priors", prior["type"]).vocabulary, prior.get("model")
    if own or not isinstance(model, str) or prior.get("lora") or prior.get("inversion"):  # these teach words
        return own
    path = models.local(model)
    return path and models.words(path)


def _check(stage: dict[str, Any], path: str, prompt: str, language: ModuleType) -> None:
    unknown = stage["prior"].get("unknown", "stop")
    try:
        wish = language.parse(prompt, unknown=unknown)
    except Mistake as mistake:
        if "unknown" in build.signature("priors", stage["prior"]["type"]).parameters:
            raise
        raise Mistake(mistake.problem, near=mistake.near, fix="say it with these words, or choose another prior.model") from None
    if not wish.things and path != "negative" and unknown == "stop":
        raise Mistake(f"the prompt names no object: {prompt[:60]!r}", near=choices("", language.OBJECTS),
                      fix='say what to make, for example prompt="a red car"')  # fmt: skip
    if wish.view is not None and stage["text"]["views"]:  # it would make a scene that looks so from all sides
        raise Mistake(f"the prompt asks for the {wish.view} view, but every camera adds its own view word",
                      fix="leave the view out, or set text.views=false")  # fmt: skip


def _prompts(stage: dict[str, Any]) -> list[tuple[str, str]]:
    """(path, text) of all that the prior will be asked for."""
    terms = stage["guidance"] if isinstance(stage["guidance"], list) else [stage["guidance"]]
    prompts = stage["prompt"] if isinstance(stage["prompt"], list) else [stage["prompt"]]
    found = [("prompt", text) for text in prompts] + [("negative", stage["negative"])]
    for i, term in enumerate(terms):
        own = f"guidance.{i}" if isinstance(stage["guidance"], list) else "guidance"
        found += [(f"{own}.prompt", term["prompt"])] if term.get("prompt") else []
        found += [(f"{own}.regions" if term.get("regions") else parts.place(stage["renderer"]), text)
                  for text in parts.regions(term, stage["renderer"])]  # fmt: skip
        found += [(f"{own}.source", term["source"])] if term.get("source") else []
    return found
