"""`covidcxr audit`: whether a model tells disease, or something else."""

from __future__ import annotations

import json

import click

from covidcxr_tf.errors import CheckFailed


@click.command()
@click.option("--model", required=True, metavar="RUN", help="Run folder, .keras file or shipped name.")
@click.option("--data", required=True, metavar="MANIFEST", help="Films to judge on, with labels and sources.")
@click.option("--root", metavar="DIR", help="Folder that the manifest's paths start from, if not its own.")
@click.option("--split", metavar="SPLIT", help="Films of this split; by default test where the manifest has splits.")
@click.option("--out", required=True, metavar="DIR", help="Folder for audit.json, audit.md and figures/.")
@click.option("--only", metavar="NAME,...", help="These checks alone; `covidcxr list audits` names them.")
@click.option("--limits", "limits_file", metavar="FILE", help="TOML file with limits of your own.")
@click.option("--films", "most", type=click.IntRange(10), default=400, show_default=True, help="Films at most.")
@click.option("--resamples", type=click.IntRange(100), default=2000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--retrain", is_flag=True, help="Also train the network anew on films without lungs, twice: minutes, hours."
)
@click.option("--retrain-epochs", type=click.IntRange(1), default=3, show_default=True, help="Of each, at most.")
@click.option("--retrain-films", type=click.IntRange(20), default=2000, show_default=True, help="To train on, at most.")
@click.option("--strict", is_flag=True, help="Exit with 4 if a check fails.")
@click.option("--json", "as_json", is_flag=True, help="Print audit.json.")
def command(
    model: str,
    data: str,
    root: str | None,
    split: str | None,
    out: str,
    only: str | None,
    limits_file: str | None,
    most: int,
    resamples: int,
    seed: int,
    retrain: bool,
    retrain_epochs: int,
    retrain_films: int,
    strict: bool,
    as_json: bool,
) -> None:
    """Look for shortcuts: hidden lungs, sources, borders, metadata, duplicates, heat, calibration, groups, stability.

    Each check gives a value, its interval and a verdict by a stated limit. With --retrain, the run's own config is
    trained anew on films of which the border alone is left (border_trained), and on films whose lungs are black
    (hidden_trained): what is learned then is no lung disease.
    """
    from covidcxr_tf.audit.limits import load_limits
    from covidcxr_tf.audit.study import as_document, chosen_checks, run_checks
    from covidcxr_tf.files import write_json, write_text
    from covidcxr_tf.report.audit_page import audit_markdown, draw_audit, summarise_audit

    names = [name.strip() for name in only.split(",") if name.strip()] if only else []
    chosen_checks(names)
    limits = load_limits(limits_file)
    from covidcxr_tf.audit_films import audit_evidence

    evidence, about = audit_evidence(model, data, split, root, most=most, resamples=resamples, seed=seed)
    if retrain:
        from covidcxr_tf.recipes.retraining import retrain as train_anew

        evidence.retrained = train_anew(evidence, model, chosen_checks(names), retrain_epochs, retrain_films)
    document = as_document(evidence, run_checks(evidence, limits, names), **about)
    write_json(f"{out}/audit.json", document)
    draw_audit(document, f"{out}/figures/audit.png")
    write_text(f"{out}/audit.md", audit_markdown(document))
    click.echo("for research, not for diagnosis", err=True)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        click.echo(summarise_audit(document))
        click.echo(f"page: {out}/audit.md")
        click.echo(f"figure: {out}/figures/audit.png")
    if strict and document["verdict"] == "fail":
        failed = [one["name"] for one in document["findings"] if one["verdict"] == "fail"]
        raise CheckFailed(f"checks failed: {', '.join(failed)}", where=model, remedy=f"read {out}/audit.md")
