"""The words of the toybox: what a prompt may say, and what it means. Imports neither torch nor numpy.

Grammar: `[a] [pattern] [colour] object [relation [a] [pattern] [colour] object] [motion][, front|side|back|overhead view]`, with
pattern and colour in either order, the motion and filler words ("a photo of", "realistic", "3d model") anywhere.
"""

import itertools
import re
from dataclasses import dataclass
from typing import Literal

from dream3d.errors import Mistake, choices, nearest

COLOURS: dict[str, tuple[float, float, float]] = {  # display sRGB
    "red": (0.85, 0.11, 0.09),
    "orange": (0.96, 0.49, 0.06),
    "yellow": (0.97, 0.84, 0.12),
    "green": (0.14, 0.62, 0.20),
    "blue": (0.11, 0.29, 0.85),
    "purple": (0.50, 0.17, 0.70),
    "pink": (0.97, 0.53, 0.71),
    "brown": (0.46, 0.27, 0.13),
    "black": (0.10, 0.10, 0.11),
    "white": (0.95, 0.95, 0.95),
}
PATTERNS: tuple[str, ...] = ("striped", "dotted", "checkered")
_NAMES = """
    ball cube cone cylinder donut snowman mushroom table chair car house tree rocket mug lamp boat duck robot
    cat rabbit bear penguin fish bus train plane teapot sofa castle cactus flower apple
"""
OBJECTS: tuple[str, ...] = tuple(_NAMES.split())
VIEW_WORDS = ("front", "side", "back", "overhead")
RELATIONS = ("on", "next to")
MOTIONS: dict[str, str] = {  # and other words for them
    "spinning": "spins spin rotating rotates turning turns twirling",
    "bouncing": "bounces bounce jumping jumps hopping hops",
    "driving": "drives drive moving moves rolling running walking flying swimming",
    "waving": "waves wave wobbling wobbles swaying sways dancing",
    "growing": "grows grow inflating swelling",
}

_SYNONYMS = {
    "ball": "sphere globe",
    "cube": "box block",
    "donut": "doughnut torus",
    "car": "automobile auto",
    "house": "home cottage",
    "rocket": "spaceship rocketship",
    "mug": "cup",
    "boat": "sailboat ship",
    "duck": "duckling",
    "plane": "airplane aeroplane aircraft",
    "cat": "kitten kitty",
    "rabbit": "bunny hare",
    "bear": "teddy",
    "train": "locomotive",
    "sofa": "couch",
    "striped": "stripy stripey stripes",
    "dotted": "spotted dotty polka",
    "checkered": "chequered checked checkerboard",
}
_IRREGULAR = {"cacti": "cactus", "bunnies": "rabbit", "kitties": "cat", "teddies": "bear"}
_FILLER_WORDS = """
    a an the of one single this some it its is are very standing sitting placed isolated object asset mesh view
    photo photograph picture image render rendering rendered drawing 3d 4d model realistic detailed highly high quality
    hd 4k 8k hq dslr toy cartoon style
    that which slowly quickly around
    colourful colorful coloured colored color colour pattern patterned dot dots
"""
_FILLERS = frozenset(_FILLER_WORDS.split())
_HINTS = {  # foreign colour words are not accepted as another colour, but the message knows what was probably meant
    "crimson": "red", "scarlet": "red", "maroon": "red", "golden": "yellow", "gold": "yellow", "violet": "purple",
    "lilac": "purple", "magenta": "pink", "cyan": "blue", "turquoise": "blue", "teal": "green", "lime": "green",
    "grey": "white", "gray": "white", "silver": "white", "beige": "white", "tan": "brown",
    "truck": "bus", "van": "bus", "person": "robot", "man": "robot", "bird": "duck", "dog": "bear",
    "desk": "table", "tower": "castle",
}  # fmt: skip
_VIEW = re.compile(
    r"\b(?:(front|side|back|rear|overhead|top|bird's[- ]eye)(?:al)?[ -]views?|(?:seen |viewed )?from (?:the |its )?"
    r"(front|side|back|behind|overhead|above|top))\b"
)
_VIEW_NAMES = {"rear": "back", "behind": "back", "top": "overhead", "above": "overhead"}
_RELATION = re.compile(r"\b(on top of|on|atop|next to|beside|near|by|and)\b")
_RELATION_NAMES = {"on top of": "on", "on": "on", "atop": "on"}
_FIX = "say it with these words, skip others by prior.unknown=ignore, or choose a prior that knows more by prior.type"


@dataclass(frozen=True)
class Thing:
    """One object: its name, and its colour and pattern where the prompt gave them."""

    name: str
    colour: str | None = None
    pattern: str | None = None

    def __str__(self) -> str:
        return " ".join(word for word in (self.pattern, self.colour, self.name) if word)


@dataclass(frozen=True)
class Wish:
    """What a prompt asks for: no, one or two things, how the first stands to the second, whence it is seen, and how all of it moves."""

    things: tuple[Thing, ...] = ()
    relation: str | None = None
    view: str | None = None
    motion: str | None = None


def parse(prompt: str, *, unknown: Literal["stop", "ignore"] = "stop") -> Wish:
    """The meaning of a prompt. "" means anything: Wish((), None, None).

    Raises Mistake for words outside the vocabulary and for what the world cannot show; with `unknown="ignore"` such
    words are skipped and a prompt without an object means anything.
    """
    strict = unknown == "stop"
    text = " ".join(re.sub(r"[\x00-\x1f\x7f_]", " ", prompt.casefold()).split())
    pieces = _RELATION.split(_VIEW.sub(" ", text))
    phrases = [[_FORMS.get(word, word) for word in _WORD.findall(piece)] for piece in pieces[0::2]]
    motion = _motion([word for phrase in phrases for word in phrase], strict)
    phrases = [[word for word in phrase if word not in MOTIONS] for phrase in phrases]
    if strict:
        _refuse_unknown(itertools.chain(*phrases))
    found = [(thing, i) for i, phrase in enumerate(phrases) if (thing := _thing(phrase, strict)) is not None]
    if strict and (len(found) > 2 or 0 < len(found) < len(phrases)):
        problem = f"a prompt names one object, or two with a relation between them, not {text[:80]!r}"
        raise Mistake(problem, near="a red ball on a blue cube", fix=_FIX)
    things = tuple(thing for thing, _ in found[:2])
    joint = pieces[2 * found[1][1] - 1] if len(things) == 2 else None
    return Wish(things, joint and _RELATION_NAMES.get(joint, "next to"), _view(text), motion if things else None)


def plainly(prompt: str) -> str:
    """The plainest words for what a prompt means. Raises Mistake as parse does."""
    wish = parse(prompt)
    return captions(wish, wish.view)[0]


def _motion(words: list[str], strict: bool) -> str | None:
    said = list(dict.fromkeys(word for word in words if word in MOTIONS))
    if strict and len(said) > 1:
        raise Mistake(f"one motion per prompt, not {' and '.join(said)}", near=f"a red car {said[0]}", fix=_FIX)
    return said[0] if said else None


def _view(text: str) -> str | None:
    found = _VIEW.search(text)
    word = next(filter(None, found.groups())) if found else None
    return "overhead" if word and word.startswith("bird") else _VIEW_NAMES.get(word, word)


def _forms() -> dict[str, str]:
    """Every spelling of a known word, plurals too, and the word it stands for."""
    moving = {other: name for name, others in MOTIONS.items() for other in (name, *others.split())}
    spelled = {name: name for name in (*OBJECTS, *COLOURS, *PATTERNS)}
    spelled |= {other: name for name, others in _SYNONYMS.items() for other in others.split()}
    plurals = {word + end: name for word, name in spelled.items() for end in ("s", "es")}
    return plurals | _IRREGULAR | spelled | moving


_FORMS = _forms()
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")


def _refuse_unknown(words) -> None:
    words, known = list(words), {*OBJECTS, *COLOURS, *PATTERNS, *MOTIONS}
    strange = list(dict.fromkeys(word[:40] for word in words if word not in known and word not in _FILLERS))
    if not strange:
        return
    near = {word: _meant(word, known) for word in strange[:4]}
    lines = [f"{word}: {', '.join(names)}" for word, names in near.items() if names]
    if not all(near.values()):  # what there is of what is missing: an object first, else what may stand before it
        more = {"colours": COLOURS, "patterns": PATTERNS, "motions": MOTIONS}
        kinds = {"objects": OBJECTS} if not set(words) & set(OBJECTS) else more
        lines += [f"{kind}: {choices('', names, width=120)}" for kind, names in kinds.items()]
    more = f" and {len(strange) - 4} words more" if len(strange) > 4 else ""
    problem = f"the toybox does not know {', '.join(map(repr, strange[:4]))}{more}"
    raise Mistake(problem, near="; ".join(lines), fix=_FIX)


def _meant(word: str, known: set[str]) -> list[str]:
    """What a word outside the vocabulary may stand for."""
    hint = _HINTS.get(word)
    names = [hint] if hint in known else [_FORMS[form] for form in nearest(word, sorted(_FORMS), cutoff=0.7)]
    return list(dict.fromkeys(names))


def _thing(words: list[str], strict: bool) -> Thing | None:
    """The object of one noun phrase; its last noun is the object. None where the phrase is empty."""
    kinds = {name: [w for w in dict.fromkeys(words) if w in names] for name, names in _CLASSES.items()}
    if strict:
        for kind, said in kinds.items():
            if len(said) > 1:
                raise Mistake(
                    f"one {kind} per object, not {' and '.join(said)}",
                    near=f"a {said[0]} ... next to a {said[1]} ...",
                    fix=_FIX,
                )
        if not kinds["object"] and (kinds["colour"] or kinds["pattern"]):
            raise Mistake(
                f"no object in {' '.join(words)[:80]!r}",
                near=f"a {(kinds['colour'] + kinds['pattern'])[0]} ball",
                fix=_FIX,
            )
    if not kinds["object"]:
        return None
    first = {kind: said[0] if said else None for kind, said in kinds.items()}
    return Thing(kinds["object"][-1], first["colour"], first["pattern"])


_CLASSES = {"object": OBJECTS, "colour": tuple(COLOURS), "pattern": PATTERNS}


def captions(wish: Wish, view: str | None = None) -> list[str]:
    """Natural ways to say a wish, seen from `view` (one of VIEW_WORDS, or None); the plainest first."""
    bare = _phrases(wish)
    if not bare:
        return [f", {view} view"] if view else [""]
    suffix = f", {view} view" if view else ""
    leads = ("", "a photo of ", "a 3d model of ", "a render of ")
    return [
        f"{lead}{phrase}{suffix}" for phrase in bare for lead in leads if not lead or phrase.startswith(("a ", "an "))
    ]


def _phrases(wish: Wish) -> list[str]:
    """Noun phrases with and without articles, and with pattern and colour in both orders."""
    orders = [_orders(thing) for thing in wish.things]
    joint = f" {wish.relation} " if wish.relation else " "
    end = f" {wish.motion}" if wish.motion else ""
    rows = [row for row in itertools.product(*orders)]
    return [joint.join(map(_article, row)) + end for row in rows if row] + [joint.join(row) + end for row in rows if row]


def _orders(thing: Thing) -> list[str]:
    swapped = " ".join(word for word in (thing.colour, thing.pattern, thing.name) if word)
    return list(dict.fromkeys((str(thing), swapped)))


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"
