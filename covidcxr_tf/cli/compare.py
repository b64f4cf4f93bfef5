"""`covidcxr compare`: several predictions tables of the same films to areas, intervals and tests."""

from __future__ import annotations

import json

import click

from covidcxr_tf.errors import UsageError


@click.command()
@click.argument("predictions", nargs=-1, required=True, metavar="A.csv B.csv...")
@click.option("--positive", metavar="CLASS", help="Class (or finding) against the rest; by default the last one.")
@click.option("--names", metavar="A,B...", help="Names of the models; by default those of the files or run folders.")
@click.option("--split", metavar="S", help="train, validation, test or all; by default test where there are several.")
@click.option("--common", is_flag=True, help="Compare on the films that all tables hold, if they hold different ones.")
@click.option("--out", required=True, metavar="DIR", help="Folder for comparison.json, tables and figures/.")
@click.option("--json", "as_json", is_flag=True, help="Print comparison.json.")
def command(
    predictions: tuple[str, ...],
    positive: str | None,
    names: str | None,
    split: str | None,
    common: bool,
    out: str,
    as_json: bool,
) -> None:
    """Compare models on the same films: areas under the ROC curve, DeLong's tests, Bonferroni and Holm.

    A run folder stands for its predictions_test.csv. Intervals and tests are given over patients (Obuchowski), and over
    films (DeLong).
    """
    if len(predictions) < 2:
        raise UsageError(f"{len(predictions)} table", expected="at least two to compare")
    from pathlib import Path

    from covidcxr_tf.evaluate.comparison import compare_tables
    from covidcxr_tf.evaluate.table import default_split, pick_split, read_predictions
    from covidcxr_tf.report.comparison import write_comparison
    from covidcxr_tf.report.comparison_summary import summarise_comparison
    from covidcxr_tf.report.document_compare import write_compare_page

    files = [Path(path) / "predictions_test.csv" if Path(path).is_dir() else Path(path) for path in predictions]
    tables = {}
    chosen = _names(names, [(file.stem, file.resolve().parent.name) for file in files])
    for name, file in zip(chosen, files, strict=True):
        table = read_predictions(file)
        tables[name] = pick_split(table, split or default_split(table.get("split", []), file), file)
    document = compare_tables(tables, positive, common=common)
    write_comparison(tables, document, out)
    write_compare_page(document, out)
    click.echo("for research, not for diagnosis", err=True)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo(summarise_comparison(document))
    click.echo(f"comparison: {out}/comparison.json")
    click.echo(f"figures: {out}/figures/")
    click.echo(f"page: {out}/compare.html")


def _names(given: str | None, files: list[tuple[str, str]]) -> list[str]:
    """Return one name a table: those given, else the file's stem, or of a run's table the folder's name."""
    if given is not None:
        names = [name.strip() for name in given.split(",")]
    else:
        names = [folder if stem.startswith("predictions") else stem for stem, folder in files]
    if len(names) != len(files) or len(set(names)) < len(names) or "" in names:
        raise UsageError(
            f"the names {', '.join(names)} for {len(files)} tables",
            expected="one name a table, each another",
            remedy="name them with --names A,B",
        )
    return names
