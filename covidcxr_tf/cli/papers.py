"""`covidcxr papers`: what the five papers print."""

from __future__ import annotations

import itertools
import json
import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from covidcxr_tf.papers.facts import Fact, Note, Paper


@click.command()
@click.argument("key", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(key: str | None, as_json: bool) -> None:
    """Print the numbers of the paper KEY with their places, or the list of papers."""
    from covidcxr_tf.papers.facts import load_paper, paper_keys

    if key is not None:
        paper = load_paper(key)
        click.echo(json.dumps(paper.as_dict(), indent=2, ensure_ascii=False) if as_json else _table(paper))
        return
    papers = [load_paper(name) for name in paper_keys()]
    if as_json:
        click.echo(json.dumps([_summary(paper) for paper in papers], indent=2, ensure_ascii=False))
        return
    width = max(len(paper.key) for paper in papers)
    for paper in papers:
        click.echo(f"{paper.key:<{width}}  {len(paper.facts):>3} facts  {paper.title} ({paper.year})")


def _summary(paper: Paper) -> dict[str, str | int]:
    return {
        "key": paper.key,
        "title": paper.title,
        "authors": paper.authors,
        "year": paper.year,
        "journal": paper.journal,
        "doi": paper.doi,
        "facts": len(paper.facts),
        "notes": len(paper.notes),
    }


def _table(paper: Paper) -> str:
    place = f"{paper.journal}, doi {paper.doi}" if paper.doi else paper.journal
    lines = [paper.title, f"{paper.authors}; {place}; {paper.year}"]
    for head, group in itertools.groupby(paper.facts, key=_head):
        rows = [(_place(fact), _printed(fact), fact.what) for fact in group]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines += ["", head]
        for where, value, what in rows:
            # Facts of running text have no row or column: no empty first column then.
            first = f"  {where:<{widths[0]}}" if widths[0] else ""
            lines.append(f"{first}  {value:<{widths[1]}}  {what}")
    if paper.notes:
        lines += ["", "Where the paper contradicts itself, or would mislead"]
        for note in paper.notes:
            text = f"{note.text} [{_places(paper, note)}]"
            lines += textwrap.wrap(text, 110, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines)


def _head(fact: Fact) -> str:
    return fact.locator.partition(",")[0]


def _place(fact: Fact) -> str:
    return fact.locator.partition(",")[2].strip()


def _places(paper: Paper, note: Note) -> str:
    return "; ".join(dict.fromkeys(_head(paper.fact(fact_id)) for fact_id in note.facts))


def _printed(fact: Fact) -> str:
    unit = "" if fact.unit == "1" else f" {fact.unit}"
    text = f"{fact.sign} {fact.printed}{unit}".strip()
    if fact.ci95:
        text += f" [{fact.ci95[0]:g} to {fact.ci95[1]:g}, {fact.interval}]"
    return f"{text} (n {fact.n})" if fact.n else text
