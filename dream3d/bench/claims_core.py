"""What a claim is, and how its verdict follows from numbers. Nothing here imports torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dream3d.bench.compare_summary import ENOUGH, interval

PRIORS = ("mixture", "exact", "toybox")
AGREES, DISAGREES, UNDECIDED, SILENT = "agrees", "disagrees", "undecided", "says nothing here"
ALLOWED = {"log": math.log, "abs": abs, "min": min, "max": max, "sqrt": math.sqrt}
Cell = Mapping[str, float | None]  # the numbers of one prompt with one seed


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper (a key of assets/papers.bib) and what would bear it out.

    rules: inequalities "left > right" between numbers, each of which the claim implies; they are what is judged. measure: "module.function"
    of dream3d/bench/claims_*.py, called with (world, prompt, seed), which answers the numbers; measured: their exact definition. methods:
    for claims that take whole runs, name -> (recipe, overrides), and the numbers are <method>_<measure>. silent: why a prior cannot
    say anything, by name ("" for all).
    """

    name: str
    paper: str
    says: str
    measured: str
    rules: tuple[str, ...] = ()
    measure: str = ""
    priors: tuple[str, ...] = PRIORS
    silent: dict[str, str] = field(default_factory=dict)
    methods: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    prompts: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """"nothing" where no prior can say anything, "runs", or "pointwise"."""
        return "nothing" if "" in self.silent else "runs" if self.methods else "pointwise"


def margin(rule: str, numbers: Cell) -> float | None:
    """How far the left side of a rule is above the right one; None where a number is missing or a logarithm has none."""
    left, right = rule.split(" > ")
    if any(numbers[name] is None for name in numbers if name in compile(rule, "<rule>", "eval").co_names):
        return None
    try:
        found = eval(left, {"__builtins__": {}}, ALLOWED | dict(numbers)) - eval(right, {"__builtins__": {}}, ALLOWED | dict(numbers))
    except (ValueError, ZeroDivisionError):
        return None
    return found if math.isfinite(found) else None


def lacking(rules: tuple[str, ...], cells: list[list[Cell]]) -> set[str]:
    """The numbers that rules ask for and no cell has: those of an older measure."""
    asked = {name for rule in rules for name in compile(rule, "<rule>", "eval").co_names} - set(ALLOWED)
    return asked - {name for row in cells for cell in row for name in cell}


def judge(rules: tuple[str, ...], cells: list[list[Cell]]) -> dict[str, Any]:
    """Of numbers by prompt and seed: every number and every rule's margin with a 95 % interval (prompts are drawn with replacement,
    then seeds within; 2000 draws, seed 0; differences are taken cell by cell, so they are paired), and the verdict.

    A claim agrees where the intervals of all its margins lie above 0, disagrees where one lies below, else it is undecided. Margins of
    fewer than six prompts decide nothing: all of three fall on one side by chance once in four times. Where a margin has no value at all,
    the prior says nothing.
    """
    names = list(dict.fromkeys(name for row in cells for cell in row for name in cell))
    numbers = {name: spread([[cell.get(name) for cell in row] for row in cells]) for name in names}
    margins = {rule: counted([[margin(rule, cell) for cell in row] for row in cells]) for rule in rules}
    return {"verdict": verdict(list(margins.values())), "margins": margins, "numbers": numbers}


def counted(table: list[list[float | None]]) -> dict[str, float | None] | None:
    """`spread`, and how many prompts and cells it is of."""
    known = [sum(value is not None for value in row) for row in table]
    found = spread(table)
    return found and {**found, "prompts": sum(map(bool, known)), "cells": sum(known)}


def spread(table: list[list[float | None]]) -> dict[str, float | None] | None:
    """Mean and interval of what is known in a table of prompts and seeds; None where nothing is."""
    known = [[value for value in row if value is not None] for row in table]
    return {key: None if v is None else _short(v) for key, v in interval(known).items()} if any(known) else None


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def verdict(margins: list[dict | None]) -> str:
    """From the intervals of all margins of a claim, each of so many prompts."""
    if not margins or any(found is None for found in margins):
        return SILENT
    sure = [found for found in margins if found["prompts"] >= ENOUGH and found["low"] is not None]  # a single value has no interval
    if any(found["high"] < 0 for found in sure):
        return DISAGREES
    return AGREES if len(sure) == len(margins) and all(found["low"] > 0 for found in sure) else UNDECIDED
