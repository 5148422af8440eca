"""A CLIP tokenizer that reads the words of the world whole, and the small text encoder behind it."""

import inspect
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

from dream3d import files
from dream3d.toybox.language import _FILLERS, COLOURS, MOTIONS, OBJECTS, PATTERNS, VIEW_WORDS

LENGTH = 24  # tokens: the longest caption with two objects and a view has 20
END = "</w>"


def vocabulary() -> list[str]:
    """Every word that a caption may hold, fillers too, and the letters of which others are spelled."""
    words = {*OBJECTS, *COLOURS, *PATTERNS, *MOTIONS, *VIEW_WORDS, *_FILLERS, "on", "next", "to", "view"}
    return sorted(word for word in words if word.isalpha())


@cache
def merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Byte-pair encoding of a list of words until every one is a single token (Sennrich et al. 2016, arXiv:1508.07909)."""
    spelled = [[*word[:-1], word[-1] + END] for word in words]
    found = []
    while any(len(parts) > 1 for parts in spelled):
        counted = Counter(pair for parts in spelled for pair in zip(parts, parts[1:], strict=False))
        best = min(counted, key=lambda pair: (-counted[pair], pair))
        found.append(best)
        spelled = [_joined(parts, best) for parts in spelled]
    return found


def _joined(parts: list[str], pair: tuple[str, str]) -> list[str]:
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] += part
        else:
            out.append(part)
    return out


def table() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token -> number, and the merges: a letter, a byte or a word of the world is a token."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters, rules = sorted(ByteLevel.alphabet()), merges(tuple(vocabulary()))
    tokens = dict.fromkeys([*letters, *(letter + END for letter in letters), *("".join(rule) for rule in rules)])
    return {token: i for i, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}, rules


def tokenizer():
    """transformers' CLIPTokenizer of that table; before its version 5 it takes files."""
    from transformers import CLIPTokenizer

    numbers, rules = table()
    if "vocab" in inspect.signature(CLIPTokenizer.__init__).parameters:
        return CLIPTokenizer(numbers, rules, model_max_length=LENGTH)
    with tempfile.TemporaryDirectory() as folder:
        return CLIPTokenizer(*map(str, spell(Path(folder))), model_max_length=LENGTH)


def spell(folder: Path) -> tuple[Path, Path]:
    """The table as every version of transformers reads it, and as hubs have it: vocab.json and merges.txt."""
    numbers, rules = table()
    files.write_json(folder / "vocab.json", numbers)
    files.write_text(folder / "merges.txt", "\n".join(["#version: 0.2", *map(" ".join, rules), ""]))
    return folder / "vocab.json", folder / "merges.txt"


def encoder(width: int, layers: int, vocabulary: int):
    """transformers' CLIPTextModel for this tokenizer; heads of 32."""
    from transformers import CLIPTextConfig, CLIPTextModel

    heads = max(1, width // 32)
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads,
        max_position_embeddings=LENGTH, projection_dim=width, bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1))  # fmt: skip
