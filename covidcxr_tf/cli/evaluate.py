"""`covidcxr evaluate`: a predictions table, or a model and a manifest, to metrics and figures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from covidcxr_tf.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from covidcxr_tf.evaluate.recalibration import Recalibration
    from covidcxr_tf.evaluate.thresholds import Threshold
    from covidcxr_tf.predict import Classifier

ARGMAX = "argmax"
CHOSEN = ("youden", "sensitivity", "specificity")


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
    help="Call CLASS from this probability on (two classes); 'argmax': the most probable class; 'youden', "
    "'sensitivity=0.9', 'specificity=0.95': chosen on validation films. By default what the run chose on its "
    "validation films, else argmax.",
)
@click.option(
    "--validation",
    metavar="CSV",
    help="Predictions to choose the cut-off on; by default the validation rows of the table, or "
    "predictions_validation.csv of the run.",
)
@click.option("--prevalence", type=float, metavar="P", help="Share of CLASS where it is to be used: adds PPV and NPV.")
@click.option("--manifest", metavar="CSV", help="Sex, age and view of the films in --predictions, for subgroups.")
@click.option(
    "--recalibrate", metavar="CSV", help="Predictions of local, labelled films of other patients: fits to them."
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
    validation: str | None,
    prevalence: float | None,
    manifest: str | None,
    recalibrate: str | None,
    seed: int,
    resamples: int,
    as_json: bool,
) -> None:
    """Judge predictions: metrics with 95 % intervals over patients, ROC, precision-recall, calibration."""
    _check(predictions, model, data, root, manifest)
    if _chosen(threshold) is None:
        _number(threshold)
    from pathlib import Path

    from covidcxr_tf.evaluate.table import default_split, pick_split, read_predictions, write_predictions
    from covidcxr_tf.report.evaluation import judge_predictions
    from covidcxr_tf.report.summary import summarise

    whole: pd.DataFrame | None = None
    if predictions is not None:
        from covidcxr_tf.evaluate.thresholds import stored_threshold

        folder = Path(predictions).parent
        whole = read_predictions(predictions)
        chosen_split = split or default_split(whole.get("split", []), predictions)
        table = _with_people(pick_split(whole, chosen_split, predictions), manifest, None)
        stored = stored_threshold(folder)
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
        _check_cut_off(loaded, positive, threshold)
        table = _with_people(predict_table_for(loaded, str(data), wanted, root), data, root)
        folder = Path(str(model)) if Path(str(model)).is_dir() else Path(str(model)).parent
        stored = model_threshold(loaded)
        if loaded.task != "multilabel":  # findings are judged one by one
            positive = positive or loaded.positive
    chosen: float | Threshold | None = stored
    if _chosen(threshold) is not None:
        positive, chosen = _choose(str(threshold), validation, whole, folder, table, positive, resamples, seed)
    elif threshold is not None or stored is None or positive not in (None, stored.positive):
        # A cut-off on one class's probability means nothing for another's.
        chosen = _number(threshold)
    else:
        positive = stored.positive
        click.echo(f"cut-off {stored.value:.4f}: {stored.threshold_from}", err=True)
    if split is None and chosen_split is not None:
        click.echo(f"several splits: judging '{chosen_split}'; choose with --split", err=True)
    found = None
    if recalibrate is not None:
        table, found, chosen = _recalibrate(recalibrate, table, positive, chosen)
    metrics = judge_predictions(
        table, out, positive, chosen, resamples, seed, prevalence=prevalence, recalibration=found
    )
    if predictions is None:
        write_predictions(table, f"{out}/predictions.csv")
    click.echo("for research, not for diagnosis", err=True)
    if as_json:
        click.echo(json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo(summarise(metrics))
    click.echo(f"metrics: {out}/metrics.json")
    click.echo(f"figures: {out}/figures/")


def _check(
    predictions: str | None, model: str | None, data: str | None, root: str | None, manifest: str | None
) -> None:
    if (predictions is None) == (model is None) or (model is None) != (data is None):
        raise UsageError("name what to judge", expected="either --predictions CSV, or --model RUN with --data MANIFEST")
    if predictions is not None and root is not None:
        raise UsageError("--root goes with --data, not with --predictions")
    if manifest is not None and predictions is None:
        raise UsageError("--manifest goes with --predictions", remedy="with --model, --data is the manifest")


def _check_cut_off(loaded: Classifier, positive: str | None, threshold: str | None) -> None:
    """Raise for a class or a cut-off that a model cannot be judged by, before it predicts for hours."""
    if loaded.task == "multilabel" and (positive is not None or threshold not in (None, ARGMAX)):
        raise UsageError(f"{loaded.name} is a model of findings", expected="neither --positive nor --threshold")
    if threshold in (None, ARGMAX):
        return
    if len(loaded.classes) != 2:
        raise UsageError(
            f"a threshold with {len(loaded.classes)} classes", expected="two classes", remedy="leave --threshold out"
        )
    value = None if _chosen(threshold) else _number(threshold)
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"threshold {value}", expected="a number from 0 to 1")


def _with_people(table: pd.DataFrame, manifest: str | None, root: str | None) -> pd.DataFrame:
    """Return the table with sex, age and view of its films, where a manifest has any."""
    if manifest is None:
        return table
    from covidcxr_tf.data.manifest import load_manifest
    from covidcxr_tf.evaluate.subgroups import with_manifest

    return with_manifest(table, load_manifest(manifest, root=root))


def _chosen(threshold: str | None) -> str | None:
    """Return the way a cut-off is to be chosen, None where it is not."""
    method = (threshold or "").partition("=")[0]
    return method if method in CHOSEN else None


def _choose(
    words: str,
    validation: str | None,
    whole: pd.DataFrame | None,
    folder: object,
    table: pd.DataFrame,
    positive: str | None,
    resamples: int,
    seed: int,
) -> tuple[str | None, Threshold]:
    from covidcxr_tf.evaluate.inputs import refuse_shared_patients, validation_films
    from covidcxr_tf.evaluate.thresholds import threshold_from_words

    films = validation_films(validation, whole, str(folder))
    refuse_shared_patients(films, table, "that choose the cut-off")
    found = threshold_from_words(words, films, positive, resamples, seed)
    reach = "" if found.ci95 is None else f" ({found.ci95[0]:.4f} to {found.ci95[1]:.4f} with other patients)"
    click.echo(f"cut-off {found.value:.4f}{reach}: {found.threshold_from}", err=True)
    return found.positive, found


def _recalibrate(
    local: str, table: pd.DataFrame, positive: str | None, chosen: float | Threshold | None
) -> tuple[pd.DataFrame, Recalibration, float | Threshold | None]:
    from covidcxr_tf.evaluate.inputs import recalibrated
    from covidcxr_tf.evaluate.table import class_names, read_predictions

    name = positive or class_names(table)[-1]
    table, found, chosen = recalibrated(table, read_predictions(local), name, chosen)
    how = f"logit x {found.slope:.3f} {found.intercept:+.3f}"
    click.echo(f"recalibrated ({found.kind}: {how}) on {found.films} films of {found.patients} patients", err=True)
    return table, found, chosen


def _number(threshold: str | None) -> float | None:
    if threshold in (None, ARGMAX):
        return None
    try:
        return float(str(threshold))
    except ValueError:
        expected = f"a number from 0 to 1, {ARGMAX}, youden, sensitivity=0.9 or specificity=0.95"
        raise UsageError(f"threshold '{threshold}'", expected=expected) from None
