"""`covidcxr ensemble`: several runs to one."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--out", required=True, metavar="RUN", help="Run folder of the ensemble.")
@click.option("--names", metavar="A,B...", help="Names of the members; by default those of their folders.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--resamples", type=click.IntRange(0), default=2000, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def command(runs: tuple[str, ...], out: str, names: str | None, seed: int, resamples: int, as_json: bool) -> None:
    """Make one run of several: the mean of their logits, judged on their common test films."""
    from covidcxr_tf.recipes.ensemble import ensemble

    chosen = [name.strip() for name in names.split(",")] if names else []
    outcome = ensemble(runs, out, names=chosen, resamples=resamples, seed=seed)
    click.echo("for research, not for diagnosis", err=True)
    if as_json:
        document = {"run": str(outcome.run.folder), "metrics": outcome.metrics}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
        return
    from covidcxr_tf.report.summary import format_metric, summarise

    click.echo(summarise(outcome.metrics))
    for member in outcome.metrics["members"]:
        click.echo(f"member {member['name']}: AUC {format_metric(member['auroc'])}")
    click.echo(f"run folder: {outcome.run.folder}")
