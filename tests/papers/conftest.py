"""What a printed number may stand for, and the note that names some facts."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from covidcxr_tf.papers.facts import Fact, Paper


@pytest.fixture(scope="session")
def rounds_to() -> Callable[[float, Fact], bool]:
    """Return a function: may this number be printed as this fact? Halves may go either way."""

    def check(number: float, fact: Fact) -> bool:
        digits = len(fact.printed.partition(".")[2])
        return abs(Decimal(repr(number)) - Decimal(fact.printed)) <= Decimal(1).scaleb(-digits) / 2 + Decimal("1e-9")

    return check


@pytest.fixture(scope="session")
def noted() -> Callable[..., str]:
    """Return a function: the text of the note that names all these facts; fails where there is none."""

    def find(paper: Paper, *fact_ids: str) -> str:
        for note in paper.notes:
            if set(fact_ids) <= set(note.facts):
                return note.text
        raise AssertionError(f"no note of {paper.key} names {fact_ids}")

    return find
