"""Words that speak against a view are left out of what that view is told: "a smiling cat, back view" asks for a face at the back.

Prompt debiasing of D-SDS (Hong et al. 2023, arXiv:2303.15413, section 4.2, and the authors' code): a masked language model says how
probable each view word is in "This image is depicting a [MASK] view of ...", with and without a word of the prompt. Where a view's
probability with the word is under 0.95 of the mean of both, that view is not told the word.
"""

from collections.abc import Callable

from dream3d.cameras import VIEW_WORDS
from dream3d.errors import Mistake
from dream3d.options import Words

FRAME, BLANK, LEAST = "This image is depicting a {} view of {}", "[MASK]", 0.95
Likely = Callable[[str], list[float]]  # a sentence with one blank -> the probability of each of VIEW_WORDS there, summing to 1


def per_view(prompt: str, words: Words) -> dict[str, str]:
    """What each view is told of a prompt, before its view word."""
    told = debiased(prompt, masked_model(words.debias)) if words.debias else dict.fromkeys(VIEW_WORDS, prompt)
    return {view: without(text, (words.leave_out or {}).get(view, "")) for view, text in told.items()}


def debiased(prompt: str, likely: Likely) -> dict[str, str]:
    """The prompt of each view without the words that speak against it; whole where none would be left."""
    said = prompt.split()
    full, kept = likely(FRAME.format(BLANK, prompt)), {view: [] for view in VIEW_WORDS}
    for i, word in enumerate(said):
        part = likely(FRAME.format(BLANK, " ".join(said[:i] + said[i + 1 :])))
        for view, with_it, without_it in zip(VIEW_WORDS, full, part, strict=True):
            if with_it >= LEAST * (with_it + without_it) / 2:
                kept[view].append(word)
    return {view: " ".join(words) or prompt for view, words in kept.items()}


def without(prompt: str, words: str) -> str:
    """A prompt without some words, whole where none would be left."""
    gone = words.casefold().split()
    return " ".join(word for word in prompt.split() if word.casefold().strip(",.") not in gone) or prompt


def masked_model(name: str) -> Likely:
    """A masked language model such as bert-base-uncased, read by transformers from a folder or the hub (safetensors only). Raises
    Mistake where it cannot be had, or where it does not know the view words as single tokens."""
    try:
        from transformers import pipeline
    except ImportError:
        raise Mistake("text.debias needs the package transformers", where="text.debias", fix="pip install transformers", code=3) from None
    try:
        fill = pipeline("fill-mask", model=name, device="cpu", model_kwargs={"use_safetensors": True})
        known = fill.tokenizer.get_vocab()
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise Mistake(f"the language model {name!r} cannot be read: {first}", where="text.debias", near="bert-base-uncased",
                      fix="the folder or the hub's name of a masked language model", code=3) from error  # fmt: skip
    if lacks := [word for word in VIEW_WORDS if word not in known]:
        raise Mistake(f"{name!r} does not know the word {lacks[0]!r}", where="text.debias", near="bert-base-uncased", code=3)

    def likely(sentence: str) -> list[float]:
        answers = fill(sentence.replace(BLANK, fill.tokenizer.mask_token), targets=list(VIEW_WORDS))
        found = {answer["token_str"].strip(): answer["score"] for answer in answers}
        total = sum(found.values())
        return [found[word] / total for word in VIEW_WORDS]

    return likely
