"""`covidcxr predict`: films to a table of probabilities."""

from __future__ import annotations

import click


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--model", metavar="M", help="Run folder or .keras file; by default the shipped classifier.")
@click.option("--out", required=True, metavar="FILE.csv", help="Predictions table to write.")
@click.option("--root", metavar="DIR", help="Folder that a manifest's paths start from, if not its own.")
@click.option("--skip-bad", type=click.IntRange(0), default=0, help="Leave out up to N unreadable films.")
def command(inputs: tuple[str, ...], model: str | None, out: str, root: str | None, skip_bad: int) -> None:
    """Write the probabilities of films, folders or a manifest as a table."""
    from covidcxr_tf.evaluate.table import write_predictions
    from covidcxr_tf.predict import describe, load_any
    from covidcxr_tf.run import predict_inputs

    loaded = load_any(model)
    table, bad = predict_inputs(loaded, inputs, root=root, skip_bad=skip_bad)
    for fault in bad:
        click.echo(f"left out: {fault}", err=True)
    write_predictions(table, out)
    click.echo("for research, not for diagnosis", err=True)
    click.echo(f"{len(table)} films: {out}")
    click.echo(f"model: {describe(loaded)}")
