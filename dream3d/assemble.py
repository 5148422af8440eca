"""From the checked settings of a stage to its System: prior, terms, scene and what else the loop needs. This is where torch comes in."""

from contextlib import contextmanager

import torch

from dream3d import build, claims, needs, options, parts, schedule
from dream3d.errors import Mistake
from dream3d.host import Loaded
from dream3d.penalties import Penalties
from dream3d.prompt import Prompt, strings
from dream3d.term import Term
from dream3d.typed import typed
from dream3d.types import Step


def stage(settings: dict, seed: int, device: str, number: int, attempt: int, loaded: Loaded | None = None):
    """The System of one stage from its complete settings. `loaded` has the prior where an earlier stage, or another run, asked for it."""
    prior = (loaded or Loaded()).get(settings, device)
    with _forked(seed):
        terms = _terms(settings, prior)
        scene = _scene(settings, seed, number).to(device)
    penalties = Penalties({name: schedule.Ramp.parse(w) for name, w in settings["penalties"].items()})
    cameras = build.make("cameras", settings["cameras"], prior.spec.pixels)
    _check_roles(terms, cameras, seed)
    return build.make(
        "systems", settings["system"], scene, terms, cameras, build.make("background", settings["background"]),
        build.make("optim", settings["optimizer"]), penalties, _clip(settings["clip"]), settings["steps"], seed,
        f"stage {number}, attempt {attempt}",
    )  # fmt: skip


def scene(settings: dict, seed: int, number: int):
    """The representation of one stage alone, on the CPU: enough to load a run."""
    with _forked(seed):
        return _scene(settings, seed, number)


def saved(config, about: dict, state: dict, path):
    """The scene of a run's checkpoint, by what it says of itself and holds. Raises Mistake where it does not fit the configuration."""
    number, kept = (held.get(name) if isinstance(held, dict) else None for held, name in ((about, "stage"), (state, "scene")))
    if number not in range(len(config.stages)) or not isinstance(kept, dict):
        raise _odd(path, "it says no stage of it" if number not in range(len(config.stages)) else "it holds no scene")
    made = scene(config.stages[number], config.values["seed"], number)
    restore(made, kept, path)
    return made


def place(about: dict, stages: list[dict], path) -> tuple[int, int, int]:
    """Stage, step and attempt of a run's checkpoint. Raises Mistake where they are none of these stages'."""
    found = [about.get(name) if isinstance(about, dict) else None for name in ("stage", "index", "attempt")]
    numbers = all(type(n) is int and n >= 0 for n in found)
    if not numbers or found[0] >= len(stages) or found[1] > stages[found[0]]["steps"]:
        raise _odd(path, "it says no stage of it")
    return tuple(found)


def restore(system, state: dict, path) -> None:
    """As a run's checkpoint has it. Raises Mistake where that does not fit."""
    try:
        system.restore(state)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise _odd(path, f"{type(error).__name__}: {' '.join(str(error).split())[:80]}") from error


def _odd(path, why: str) -> Mistake:
    return Mistake(f"the newest checkpoint does not fit the configuration beside it: {why}", where=str(path),
                   fix="put both back, or remove this checkpoint: the one before it then counts")  # fmt: skip


def _scene(settings: dict, seed: int, number: int):
    return build.make("renderers", settings["renderer"], Step.make(0, 1, seed, salt=f"scene {number}").rng)


@contextmanager
def _forked(seed: int):
    """Libraries that draw from the global generator while building do so from the seed, and leave no trace."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def describe(settings: dict, system, device: str) -> str:
    """One line on what runs where, and why."""
    why = "" if torch.cuda.is_available() else ", no CUDA here"
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else ""
    scene = f"{settings['renderer']['type']} ({system.scene.about})"
    about = next((f" ({term.guidance.prior.about})" for term in system.terms if term.guidance.prior.about), "")
    about += f", {system.about}" if system.about else ""
    return f"prior {settings['prior']['type']}{about}, renderer {scene}, device {device} (float32{threads}{why})"


def _terms(settings: dict, prior) -> list:
    terms = []
    for entry in _entries(settings):
        _check_needs(entry["type"], build.load(build.signature("guidance", entry["type"])), prior, settings)
        guidance = build.make("guidance", entry, prior)
        text = Prompt(prior, *_asked(entry, settings))
        known = {k: v for k, v in build.term_parameters().items() if k not in options.TEXTS}
        terms.append(Term(guidance, text, **{k: typed(entry[k], kind, k) for k, (kind, _) in known.items()}))
    return terms


def _entries(settings: dict) -> list[dict]:
    return settings["guidance"] if isinstance(settings["guidance"], list) else [settings["guidance"]]


def _asked(entry: dict, settings: dict) -> tuple:
    """What a term says to its prior: prompts, negative, words, regions and source."""
    prompts = entry.get("prompt") or settings["prompt"]
    words, regions = options.Words(**settings["text"]), parts.regions(entry, settings["renderer"])
    return prompts if isinstance(prompts, list) else [prompts], settings["negative"], words, regions, entry.get("source")


def told(settings: dict) -> list[str]:
    """All texts that a stage's terms say to its prior, once each."""
    return list(dict.fromkeys(text for entry in _entries(settings) for text in strings(*_asked(entry, settings))))


def _check_needs(name: str, guidance: type, prior, settings: dict) -> None:
    """What a formula needs of parts that do not say in their source what they offer (dream3d.needs asks the others earlier)."""
    shown = claims.offered(build.signature("renderers", settings["renderer"]["type"]).offers or {}, settings["renderer"])
    if missing := sorted(guidance.needs - prior.spec.capabilities - shown):
        raise needs.lacking(name, missing, settings).completed(where="guidance.type")


def _check_roles(terms: list, cameras, seed: int) -> None:
    """A term for a role that no view has would never pull. Cameras without roles serve every term."""
    if asked := sorted({term.views for term in terms} - {None}):
        drawn = [cameras(Step.make(i, 16, seed, salt="roles")).role for i in range(16)]
        roles = sorted({role for row in drawn for role in row or ()})
        if missing := [role for role in asked if role not in roles and None not in drawn]:
            raise Mistake(f"no view has the role {missing[0]!r}", where="guidance.views", near=", ".join(roles))


def _clip(value):
    if isinstance(value, dict):
        return {name: schedule.Ramp.parse(v) for name, v in value.items()}
    return None if value is None else schedule.Ramp.parse(value)
