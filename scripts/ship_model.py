"""Turn a finished run into a shipped model: half-size weights, checked against the run's own, and its record.

    python scripts/ship_model.py runs/covid_cxnet saved_models/covid_cxnet/1 --limit "..." --data-note "..."

Nothing that names a film or a patient goes along: no predictions, no splits, no paths.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
from PIL import Image

#: Largest difference of a probability that half-size weights may make.
TOLERANCE = 2e-3
#: Values of the smallest kernel that is halved: tried in this order, until the answers agree.
HALF_FROM = (0, 5_000, 20_000, 50_000)
#: Films that both versions are asked about.
COMPARED = 64
#: A picture of no more colours than this is a chart: 256 of them are enough, and its file a quarter.
CHART_COLOURS = 4096


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--limit", "limits", multiple=True, help="A limit of this model for its card; can be repeated.")
@click.option("--data-note", default="", help="What it was trained on, for its card.")
@click.option("--command", "made_by", default="", help="The command that trained it, for its card.")
@click.option("--half-from", type=click.IntRange(0), metavar="N", help="Halve kernels of N values and more.")
def main(run: Path, target: Path, limits: tuple[str, ...], data_note: str, made_by: str, half_from: int | None) -> None:
    """Write RUN's model with its record to TARGET, a version folder of saved_models/."""
    from covidcxr_tf.models.files import load_model, model_digest, save_model
    from covidcxr_tf.report.card import write_card

    if target.exists():
        raise click.ClickException(f"{target} exists; expected a new version folder")
    whole, facts = load_model(run / "model.keras")
    target.mkdir(parents=True)
    for least in HALF_FROM if half_from is None else (half_from,):
        path = save_model(whole, target / "model.keras", facts, half=True, half_from=least)
        half, _ = load_model(path)
        difference = largest_difference(run, whole, half, facts)
        if difference <= TOLERANCE:
            break
    if difference > TOLERANCE:
        shutil.rmtree(target)
        raise click.ClickException(f"half-size weights change a probability by {difference:.1e}, over {TOLERANCE:.0e}")
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("metrics.json", "history.csv"):
        shutil.copyfile(run / name, target / name)
    shutil.copytree(run / "figures", target / "figures")
    for picture in target.glob("figures/*.png"):
        fewer_colours(picture)
    (target / "config.toml").write_text(without_places((run / "config.toml").read_text()))
    data = {
        "films": data_note,
        "command": made_by,
        "weights": f"float16 in the file; largest change of a probability on {COMPARED} films: {difference:.1e}",
    }
    write_card(target, facts | {"sha256": model_digest(path)}, metrics, data=data, limits=limits)
    click.echo(f"{target}: {path.stat().st_size / 1e6:.1f} MB, largest change of a probability {difference:.1e}")


def largest_difference(run: Path, whole: keras.Model, half: keras.Model, facts: dict[str, Any]) -> float:
    """Return the largest difference of any probability between the two models on films of the run."""
    from covidcxr_tf.config import load_config
    from covidcxr_tf.predict import to_probabilities
    from covidcxr_tf.recipes.datasets import build_datasets

    sets = build_datasets(load_config(run / "config.toml"))
    largest, seen = 0.0, 0
    for batch in sets.validation.plain():
        both = [np.asarray(model(batch["image"], training=False), np.float64) for model in (whole, half)]
        if facts["task"] == "segmentation":
            first, second = (1 / (1 + np.exp(-logits)) for logits in both)
        else:
            first, second = (to_probabilities(logits, facts["task"]) for logits in both)
        largest = max(largest, float(np.abs(first - second).max()))
        seen += len(first)
        if seen >= COMPARED:
            break
    return largest


def fewer_colours(picture: Path) -> None:
    """Write a PNG of a chart anew with at most 256 colours; leave one of a film as it is."""
    from covidcxr_tf.files import replacing

    chart = Image.open(picture).convert("RGB")
    if chart.getcolors(CHART_COLOURS) is None:
        return
    chart = chart.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    with replacing(picture) as aside:
        chart.save(aside, "PNG", optimize=True)


def without_places(config: str) -> str:
    """Return a config's text without the places of films on the machine that trained."""
    config = re.sub(r'^(manifest|root) = ".*"$', r'\1 = ""', config, flags=re.MULTILINE)
    return re.sub(r'^init = ".*/([^/"]+)"$', r'init = "\1"', config, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
