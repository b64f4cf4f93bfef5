"""What the five papers print, as typed facts: number, unit, place, films behind it.

One file ``<key>.toml`` a paper lies beside this module. A number stands there with the digits that the paper prints,
so that a table can say 0.810 and a check knows how far rounding reaches.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from covidcxr_tf.catalog import PAPERS, entry, nearest
from covidcxr_tf.errors import DataError, UsageError

ROLES = ("result", "data", "setting", "cited")
SIGNS = ("", "<", ">", "≤", "≥", "≈")
INTERVAL = "95 % confidence interval"

_ID = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
_LOCATOR = re.compile(r"(Table|Section) \S|Abstract$")
_TOP = {"key": str, "title": str, "authors": str, "year": int, "journal": str, "doi": str}
_NEEDED = {"id": str, "what": str, "value": (int, Decimal), "unit": str, "locator": str, "role": str}
_OPTIONAL = {"n": int, "ci95": list, "interval": str, "sign": str}


@dataclass(frozen=True)
class Fact:
    """One printed number.

    Attributes
    ----------
    id : str
        Dotted and lower case, unique in its paper: ``table5.covid19.covid19``.
    what : str
        What was counted or measured, a phrase.
    value : float
        The number in `unit`; per cent stay per cent (97.0), shares stay shares (0.97).
    unit : str
        ``films``, ``%``, ``px``, ...; ``1`` for a pure number.
    locator : str
        ``Table 5, row 1, column 1``, ``Section 3.2`` or ``Abstract``. Rows and columns count from 1, without headings.
    role : {"result", "data", "setting", "cited"}
        What the method scored, how many films there were, what was set, or what other authors found.
    printed : str
        The number with the paper's own digits: ``0.810``.
    n : int or None
        Films the number is over, where the text tells.
    ci95 : tuple of float, optional
        The interval printed beside it, in `unit`.
    interval : str
        What `ci95` is; not every paper's "confidence interval" is one. Empty without `ci95`.
    sign : {"", "<", ">", "≤", "≥", "≈"}
        What the paper prints before the number.
    """

    id: str
    what: str
    value: float
    unit: str
    locator: str
    role: str
    printed: str
    n: int | None = None
    ci95: tuple[float, float] | None = None
    interval: str = ""
    sign: str = ""


@dataclass(frozen=True)
class Note:
    """Where a paper contradicts itself, or where a reader would be misled."""

    facts: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Paper:
    """A paper and everything it prints. `doi` is empty where our copy of the text has none."""

    key: str
    title: str
    authors: str
    year: int
    journal: str
    doi: str
    facts: tuple[Fact, ...]
    notes: tuple[Note, ...]

    def fact(self, fact_id: str) -> Fact:
        """Return the fact of this id.

        Raises
        ------
        UsageError
            If the paper has no such fact; the message names the nearest.
        """
        for known in self.facts:
            if known.id == fact_id:
                return known
        raise UsageError(
            f"'{fact_id}' is no fact of {self.key}",
            expected=f"one of the {len(self.facts)} ids that `covidcxr papers {self.key} --json` prints",
            remedy=nearest(fact_id, [known.id for known in self.facts]) or None,
        )

    def of_role(self, role: str) -> tuple[Fact, ...]:
        """Return the facts of one role in the order of the paper.

        Raises
        ------
        UsageError
            If there is no such role.
        """
        if role not in ROLES:
            raise UsageError(f"'{role}' is no role of a fact", expected=", ".join(ROLES))
        return tuple(known for known in self.facts if known.role == role)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return asdict(self)


def paper_keys() -> tuple[str, ...]:
    """Return the keys of all papers, in the catalog's order."""
    return tuple(PAPERS)


@functools.cache
def load_paper(key: str) -> Paper:
    """Return the facts of one paper.

    Raises
    ------
    UsageError
        If there is no such key; the message carries the known ones.
    DataError
        If the paper's file is missing or faulty.
    """
    entry("papers", key)
    return read_paper(Path(__file__).with_name(f"{key}.toml"))


def read_paper(path: str | Path) -> Paper:
    """Return the facts of a file named ``<key>.toml``.

    Raises
    ------
    DataError
        If the file cannot be read, is no TOML, or has a fault; the message names the fact.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise DataError(f"no readable paper: {fault}", where=path.name) from fault
    _check_keys(content, {**_TOP, "fact": list}, {"note": list}, path.name)
    if content["key"] != path.stem:
        raise DataError(f"key is '{content['key']}'", where=path.name, expected=f"'{path.stem}', the file's name")
    facts = tuple(_fact(table, f"{path.name}, fact {row}") for row, table in enumerate(content["fact"], 1))
    known: set[str] = set()
    for fact in facts:
        if fact.id in known:
            raise DataError(f"the id '{fact.id}' stands twice", where=path.name)
        known.add(fact.id)
    notes = tuple(
        _note(table, known, f"{path.name}, note {row}") for row, table in enumerate(content.get("note", ()), 1)
    )
    return Paper(**{name: content[name] for name in _TOP}, facts=facts, notes=notes)


def _check_keys(table: object, needed: Mapping[str, Any], optional: Mapping[str, Any], where: str) -> None:
    if not isinstance(table, dict):
        raise DataError("is no table", where=where)
    for name, kind in {**needed, **optional}.items():
        if name not in table:
            if name in needed:
                raise DataError(f"has no '{name}'", where=where)
        elif not isinstance(table[name], kind) or isinstance(table[name], bool):
            raise DataError(f"'{name}' is {table[name]!r}", where=where, expected="another kind of value")
    if unknown := sorted(set(table) - set(needed) - set(optional)):
        raise DataError(f"has the unknown '{unknown[0]}'", where=where, expected=", ".join([*needed, *optional]))


def _fact(table: dict[str, Any], where: str) -> Fact:
    _check_keys(table, _NEEDED, _OPTIONAL, where)
    where = f"{where} ({table['id']})"
    if not _ID.fullmatch(table["id"]):
        raise DataError("the id is not dotted lower case", where=where, expected="such as table5.covid19.covid19")
    if not _LOCATOR.match(table["locator"]):
        raise DataError(f"locator '{table['locator']}'", where=where, expected="Table ..., Section ... or Abstract")
    for name, allowed in (("role", ROLES), ("sign", SIGNS)):
        if table.get(name, allowed[0]) not in allowed:
            raise DataError(f"{name} '{table[name]}'", where=where, expected=", ".join(filter(None, allowed)))
    if not (table["what"].strip() and table["unit"].strip()):
        raise DataError("what or unit is empty", where=where)
    if table.get("n", 1) < 1:
        raise DataError(f"n is {table['n']}", where=where, expected="1 or more")
    interval = _interval(table, where)
    return Fact(
        **{name: table[name] for name in ("id", "what", "unit", "locator", "role")},
        value=float(table["value"]),
        printed=str(table["value"]),
        n=table.get("n"),
        ci95=interval,
        interval=table.get("interval", INTERVAL) if interval else "",
        sign=table.get("sign", ""),
    )


def _interval(table: dict[str, Any], where: str) -> tuple[float, float] | None:
    ends = table.get("ci95")
    if ends is None:
        if "interval" in table:
            raise DataError("'interval' without 'ci95'", where=where)
        return None
    if len(ends) != 2 or not all(isinstance(end, int | Decimal) for end in ends) or ends[0] > ends[1]:
        raise DataError(f"ci95 is {[str(end) for end in ends]}", where=where, expected="[low, high]")
    return float(ends[0]), float(ends[1])


def _note(table: dict[str, Any], known: set[str], where: str) -> Note:
    _check_keys(table, {"facts": list, "text": str}, {}, where)
    if not table["facts"] or not table["text"].strip():
        raise DataError("facts or text is empty", where=where)
    for fact_id in table["facts"]:
        if fact_id not in known:
            raise DataError(f"'{fact_id}' is no fact of this file", where=where)
    return Note(tuple(table["facts"]), table["text"])
