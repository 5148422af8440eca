"""What a prior can understand, checked before any work and without torch."""

import importlib
from typing import Any

from dream3d import build
from dream3d.config import Config
from dream3d.errors import Mistake


def check_vocabulary(config: Config) -> None:
    """A prior with a limited vocabulary says, before any work, which words of the prompts it does not know."""
    for stage in config.stages:
        module = build.signature("priors", stage["prior"]["type"]).vocabulary
        if module is not None:
            parse = importlib.import_module(module).parse
            for prompt in [stage["prompt"], stage["negative"], *_term_prompts(stage)]:
                for text in prompt if isinstance(prompt, list) else [prompt]:
                    _check_view(stage, text, parse(text, unknown=stage["prior"].get("unknown", "stop")).view)


def _check_view(stage: dict[str, Any], prompt: str, view: str | None) -> None:
    """A prompt that names one view would make a scene that looks so from all sides."""
    if view is not None and stage["text"]["views"]:
        raise Mistake(f"the prompt asks for the {view} view, but every camera adds its own view word", where=repr(prompt[:60]),
                      fix="leave the view out, or set text.views=false")  # fmt: skip


def _term_prompts(stage: dict[str, Any]) -> list[str]:
    terms = stage["guidance"] if isinstance(stage["guidance"], list) else [stage["guidance"]]
    return [term["prompt"] for term in terms if term.get("prompt")]
