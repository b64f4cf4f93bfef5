"""The parts of a predictions table under way: finished ones outlive a kill, and are taken only where they still hold.

Beside ``OUT`` lies the folder ``OUT.parts`` with ``plan.json`` (which model, films and settings), a file a part, and
the ledger of what is finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from covidcxr_tf import ledger
from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.errors import UsageError
from covidcxr_tf.evaluate.table_files import join_tables, write_table
from covidcxr_tf.files import write_json
from covidcxr_tf.ledger import Ledger
from covidcxr_tf.predict_stream import film_stamp

PLAN = "plan.json"
AGAIN = "run the same command again with --resume"


@dataclass(frozen=True)
class Part:
    """One finished part: rows `start` to `stop`, the films that could not be read (path, reason), and its file."""

    start: int
    stop: int
    bad: tuple[tuple[str, str], ...]
    file: Path


class Parts:
    """The folder of the parts of one table.

    Parameters
    ----------
    out : path
        The table that will be.
    plan : dict
        What decides the numbers in it, as JSON.
    """

    def __init__(self, out: Path, plan: Mapping[str, Any]) -> None:
        self.out, self.plan = out, dict(plan)
        self.folder = out.with_name(out.name + ".parts")
        self.ledger = Ledger(self.folder)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder against other processes.

        Raises
        ------
        UsageError
            If another one predicts into it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(ledger.held(self.folder))
            except BlockingIOError:
                raise UsageError(
                    "another process is predicting into this table", where=self.out, remedy="name another with --out"
                ) from None
            try:
                yield
            finally:
                if not self.ledger.lines():
                    self.clear()

    def begin(self, resume: bool) -> None:
        """Begin, or go on where `resume` says so.

        Raises
        ------
        UsageError
            If the parts there are of another model, other films or other settings, or `resume` is false and there are
            some.
        """
        found = self._stored()
        if found is None or not self.ledger.lines():
            self.clear()
        elif not resume:
            films = sum(line["stop"] - line["start"] for line in self.ledger.lines())
            raise UsageError(
                f"holds {films} films of an interrupted run",
                where=self.folder,
                remedy="go on with --resume, or remove this folder to begin anew",
            )
        else:
            refuse_difference(found, self.plan, self.folder)
        write_json(self.folder / PLAN, self.plan)

    def finished(self, manifest: pd.DataFrame) -> dict[int, Part]:
        """Return the parts whose file is whole and whose films are as they were, by their first row."""
        found = {}
        for line in self.ledger.lines():
            with contextlib.suppress(KeyError, TypeError, ValueError):
                bad = tuple((str(path), str(reason)) for path, reason in line["bad"])
                part = Part(int(line["start"]), int(line["stop"]), bad, self.folder / Path(line["file"]).name)
                whole = ledger.sha256(part.file) == line["sha256"]
                if whole and stamps_digest(stamps(manifest, part.start, part.stop)) == line["films"]:
                    found[part.start] = part
        return found

    def write(self, table: pd.DataFrame, start: int, film_stamps: list[str], bad: list[tuple[str, str]]) -> Part:
        """Write a part, then say in the ledger that it is there."""
        file = write_table(table, self.folder / f"part-{start:09d}-{start + len(table):09d}{self.out.suffix}")
        facts = {"file": file.name, "sha256": ledger.sha256(file), "films": stamps_digest(film_stamps), "bad": bad}
        self.ledger.add(start=start, stop=start + len(table), **facts)
        return Part(start, start + len(table), tuple(bad), file)

    def join(self, parts: list[Part]) -> None:
        """Write the table from its parts, in one step."""
        join_tables([part.file for part in parts], self.out)

    def clear(self) -> None:
        """Remove what was written here, and nothing else."""
        for path in [*self.folder.glob("part-*"), *self.folder.glob(".part-*"), self.ledger.path, self.folder / PLAN]:
            path.unlink(missing_ok=True)
        for path in self.folder.glob(".plan.*"):  # of a kill inside a write
            path.unlink(missing_ok=True)

    def _stored(self) -> dict[str, Any] | None:
        try:
            found = json.loads((self.folder / PLAN).read_text())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None


def refuse_difference(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Raise where two plans differ, with the first difference named.

    Raises
    ------
    UsageError
    """
    old, new = _flat(before), _flat(now)
    for name in [*new, *(name for name in old if name not in new)]:
        was, is_now = old.get(name, "nothing"), new.get(name, "nothing")
        if was != is_now:
            raise UsageError(
                f"another {name}: was {_short(was)}, is {_short(is_now)}",
                where=where,
                expected="the model, films and settings of the interrupted run",
                remedy="name another table with --out, or remove what is there",
            )


def stamps(manifest: pd.DataFrame, start: int, stop: int) -> list[str]:
    """Return size and time of change of the films of some rows."""
    return [film_stamp(film_path(manifest, row)) for row in range(start, stop)]


def stamps_digest(film_stamps: list[str]) -> str:
    """Return a digest of the films of a part as they lie on the disk."""
    return hashlib.sha256("\n".join(film_stamps).encode()).hexdigest()


def _flat(plan: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plan.items():
        flat |= _flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:24]}..."
