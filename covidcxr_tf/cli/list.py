"""`covidcxr list`: every name that a command takes."""

from __future__ import annotations

import json

import click

from covidcxr_tf.catalog import KINDS

WHAT = ("archs", "configs", "explainers", "sources", "audits", "enhancers", "recipes")


@click.command()
@click.argument("kind", required=False, type=click.Choice(WHAT))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(kind: str | None, as_json: bool) -> None:
    """Names of architectures, configs, explainers, sources, audits."""
    tables = {name: _names(name) for name in ((kind,) if kind else WHAT)}
    if as_json:
        click.echo(json.dumps(tables[kind] if kind else tables, indent=2))
        return
    for name, table in tables.items():
        if not table:
            continue
        if kind is None:
            click.echo(f"{name}:")
        width = max(len(key) for key in table)
        for key, summary in table.items():
            click.echo(f"  {key:<{width}}  {summary}")


def _names(kind: str) -> dict[str, str]:
    if kind != "configs":
        return {name: known.summary for name, known in KINDS[kind].items()}
    from covidcxr_tf.config import list_configs

    return {name: _first_comment(path.read_text(encoding="utf-8")) for name, path in list_configs().items()}


def _first_comment(text: str) -> str:
    return text.partition("\n")[0].removeprefix("#").strip()
