"""`covidcxr evaluate`: a predictions table, or a model and a manifest, to metrics and figures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from covidcxr_tf.errors import UsageError

if TYPE_CHECKING:
    from covidcxr_tf.evaluate.thresholds import Threshold

ARGMAX = "argmax"


@click.command()
@click.option("--predictions", metavar="CSV", help="Predictions table; instead of --model and --data.")
@click.option("--model", metavar="RUN", help="Run folder or .keras file; needs --data.")
@click.option("--data", metavar="MANIFEST", help="Manifest of the films to judge the model on.")
@click.option("--root", metavar="DIR", help="Folder that the manifest's paths start from, if not its own.")
@click.option("--out", required=True, metavar="DIR", help="Folder for metrics.json and figures/.")
@click.option("--split", metavar="S", help="train, validation, test or all; by default test where there are several.")
@click.option("--positive", metavar="CLASS", help="Class that curves and cut-off are about; by default the last one.")
@click.option(
    "--threshold",
    metavar="T",
    help="Call CLASS from this probability on (two classes); 'argmax': the most probable class. By default what the "
    "run chose on its validation films, else argmax.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option("--resamples", type=click.IntRange(0), default=2000, show_default=True, help="Of the bootstrap.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json.")
def command(
    predictions: str | None,
    model: str | None,
    data: str | None,
    root: str | None,
    out: str,
    split: str | None,
    positive: str | None,
    threshold: str | None,
    seed: int,
    resamples: int,
    as_json: bool,
) -> None:
    """Judge predictions: metrics with 95 % intervals over patients, ROC, precision-recall, calibration."""
    if (predictions is None) == (model is None) or (model is None) != (data is None):
        raise UsageError("name what to judge", expected="either --predictions CSV, or --model RUN with --data MANIFEST")
    if predictions is not None and root is not None:
        raise UsageError("--root goes with --data, not with --predictions")
    _number(threshold)
    from covidcxr_tf.evaluate.table import default_split, pick_split, read_predictions, write_predictions
    from covidcxr_tf.report.evaluation import judge_predictions
    from covidcxr_tf.report.summary import summarise

    if predictions is not None:
        from pathlib import Path

        from covidcxr_tf.evaluate.thresholds import stored_threshold

        table = read_predictions(predictions)
        chosen_split = split or default_split(table.get("split", []), predictions)
        table = pick_split(table, chosen_split, predictions)
        stored = stored_threshold(Path(predictions).parent)
    else:
        from covidcxr_tf.data.manifest import load_manifest
        from covidcxr_tf.judging import judge_masks, load_for_judging, model_threshold, predict_table_for

        loaded = load_for_judging(str(model))
        films = load_manifest(str(data), root=root)
        chosen_split = split or default_split(films.get("split", []), data)
        wanted = None if chosen_split == "all" else chosen_split
        if loaded is None:
            click.echo(summarise(judge_masks(str(model), str(data), wanted, root, out, seed=seed)))
            click.echo(f"metrics: {out}/metrics.json")
            return
        table = predict_table_for(loaded, str(data), wanted, root)
        stored = model_threshold(loaded)
        if loaded.task != "multilabel":  # findings are judged one by one
            positive = positive or loaded.positive
    chosen: float | Threshold | None = _number(threshold)
    if stored is not None and threshold is None and positive in (None, stored.positive):
        # A cut-off on one class's probability means nothing for another's.
        positive, chosen = stored.positive, stored
        click.echo(f"cut-off {stored.value:.4f}: {stored.threshold_from}", err=True)
    if split is None and chosen_split is not None:
        click.echo(f"several splits: judging '{chosen_split}'; choose with --split", err=True)
    metrics = judge_predictions(table, out, positive, chosen, resamples, seed)
    if predictions is None:
        write_predictions(table, f"{out}/predictions.csv")
    click.echo("for research, not for diagnosis", err=True)
    if as_json:
        click.echo(json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo(summarise(metrics))
    click.echo(f"metrics: {out}/metrics.json")
    click.echo(f"figures: {out}/figures/")


def _number(threshold: str | None) -> float | None:
    if threshold in (None, ARGMAX):
        return None
    try:
        return float(str(threshold))
    except ValueError:
        raise UsageError(f"threshold '{threshold}'", expected=f"a number from 0 to 1, or {ARGMAX}") from None
