"""The page and the lines that a reproduction leaves behind: tables by experiment, caveats, how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from covidcxr_tf.papers.facts import Paper
from covidcxr_tf.recipes.reproductions.table import Row, difference_cell, measured_cell, printed_cell, without_folders

HEAD = ("where", "what", "unit", "paper", "measured", "difference", "note")
LEFT_OVER = "Printed results that no experiment measures"


def readme(paper: Paper, document: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the reproduction as a Markdown page without paths of the machine it ran on.

    Parameters
    ----------
    paper : Paper
        The paper.
    document : mapping
        Content of ``reproduction.json``.
    rows : sequence of Row
        Its rows.
    """
    doi = f", doi:{paper.doi}" if paper.doi else ""
    lines = [
        f"# Reproduction of {paper.key}",
        "",
        f"{paper.authors}: {paper.title}. {paper.journal}, {paper.year}{doi}.",
        "",
        f"**{summary(rows)}** Research only, no diagnosis.",
        "",
        "## Read this first",
        "",
        *(f"- {caveat}" for caveat in document["caveats"]),
        "",
        *_run_lines(document),
        "![printed against measured](figures/agreement.png)",
        "",
    ]
    for title, why, part in sections(document["experiments"], rows):
        lines += [f"## {title}", ""] + ([f"Not run: {_safe(why)}", ""] if why else []) + _markdown(part, bool(why))
    return "\n".join([*lines, *_note_lines(paper, rows)])


def terminal_text(document: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the table by experiment in aligned columns, for a terminal."""
    blocks = []
    for title, why, part in sections(document["experiments"], rows):
        cells = [_cells(row, bool(why)) for row in part]
        cells = [(_name(*cell[:3]), f"paper {cell[3]}", *cell[4:]) for cell in cells]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        blocks.append("\n".join([title, *([f"  not run: {why}"] if why else []), *(f"  {x.rstrip()}" for x in lines)]))
    return "\n\n".join([*blocks, summary(rows)])


def summary(rows: Iterable[Row]) -> str:
    """Return how many of the printed numbers have a measured one beside them."""
    printed = [row for row in rows if row.fact]
    measured = sum(row.measured is not None for row in printed)
    return f"{measured} of {len(printed)} printed numbers measured."


def sections(experiments: Iterable[Mapping[str, str]], rows: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """Return (title, why it was not run, rows) of each experiment, and last of what none answers.

    The reason is given where it is the same for each of the rows, else each row says its own.
    """
    named = [*((entry["name"], f"{entry['title']} ({entry['name']})") for entry in experiments), ("", LEFT_OVER)]
    found = []
    for name, title in named:
        part = [row for row in rows if row.experiment == name]
        reasons = {row.why for row in part}
        if part:
            found.append((title, reasons.pop() if len(reasons) == 1 else "", part))
    return found


def command_line(document: Mapping[str, Any]) -> str:
    """Return the command that does the same again; the manifest is the user's own path to it."""
    given = document["command"]
    words = ["covidcxr", "reproduce", document["key"]]
    words += ["--data", given["data"]] if given["data"] else []
    words += ["--root", "FILMS"] if given["root"] else []
    words += ["--masks", given["masks"]] if given.get("masks") else []
    words += ["--masks-root", "MASKED_FILMS"] if given.get("masks_root") else []
    words += ["--smoke"] if given["smoke"] else []
    words += ["--repeats", str(given["repeats"]), "--seed", str(given["seed"])]
    for flag, values in (("--set", given["settings"]), ("--only", given["only"])):
        words += [word for value in values for word in (flag, value)]
    return shlex.join(words)


def _run_lines(document: Mapping[str, Any]) -> list[str]:
    films = document["manifest"]
    versions = document["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in versions["packages"].items() if version)
    return [
        "## How to repeat it",
        "",
        "```",
        command_line(document),
        "```",
        "",
        f"Films: {films['name']}, {films['films']} films of {films['patients']} patients, SHA-256 `{films['sha256']}`.",
        f"Made with covidcxr_tf {versions['covidcxr_tf']}, Python {versions['python']}, {packages}.",
        "All numbers with units, intervals and reasons: table.csv and reproduction.json.",
        "",
    ]


def _note_lines(paper: Paper, rows: Iterable[Row]) -> list[str]:
    shown = {row.fact for row in rows if row.fact}
    notes = [note for note in paper.notes if shown & set(note.facts)]
    if not notes:
        return []
    head = ["## What the paper's own numbers say against each other", ""]
    return [*head, *(f"- {note.text} ({', '.join(f'`{fact}`' for fact in note.facts)})" for note in notes), ""]


def _markdown(rows: Iterable[Row], reason_given: bool) -> list[str]:
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    lines += [f"| {' | '.join(_safe(cell) for cell in _cells(row, reason_given))} |" for row in rows]
    return [*lines, ""]


def _cells(row: Row, reason_given: bool) -> tuple[str, ...]:
    measured = "not run" if reason_given and row.measured is None else measured_cell(row)
    unit = "" if row.unit == "1" else row.unit
    return (row.locator, row.what, unit, printed_cell(row), measured, difference_cell(row), row.note)


def _name(locator: str, what: str, unit: str) -> str:
    return (f"{locator}: " if locator else "") + what + (f" [{unit}]" if unit else "")


def _safe(text: str) -> str:
    return without_folders(text).replace("|", "\\|").replace("\n", " ")
