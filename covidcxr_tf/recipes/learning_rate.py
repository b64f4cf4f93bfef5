"""The learning-rate range test of a config: curve as CSV and PNG, and the suggested rate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
from matplotlib.figure import Figure

from covidcxr_tf.catalog import resolve
from covidcxr_tf.config import Config, check_config, merge
from covidcxr_tf.errors import ConfigError
from covidcxr_tf.files import write_text
from covidcxr_tf.recipes.datasets import build_datasets
from covidcxr_tf.recipes.execute import new_run, prepare_job
from covidcxr_tf.recipes.launch import Launch
from covidcxr_tf.recipes.phases import phase_configs
from covidcxr_tf.report.figures import save_figure
from covidcxr_tf.train.lr_finder import RangeTest, range_test
from covidcxr_tf.train.run_dir import check_free


@dataclass(frozen=True)
class LearningRate:
    """Suggested rate, and the files that show the curve."""

    suggestion: float
    table: Path
    figure: Path


def find_learning_rate(
    config: Config, out: str | Path, *, devices: str = "all", skip_bad: int = 0, steps: int = 100
) -> LearningRate:
    """Run the range test of a config and return the rate of the steepest fall.

    Where the config asks for folds the films are split once: one rate serves all of them. Of a config with phases the
    one that ``run_phases`` names is tested.

    Raises
    ------
    ConfigError
        For several phases: each has a rate of its own, and starts from weights that the one before leaves.
    CovidcxrError
        As `execute`.
    """
    check_free(out)
    if len(config.run_phases) > 1:
        raise ConfigError(
            f"run_phases names {len(config.run_phases)} trainings, and the range test is of one",
            expected=f"one phase, as in --set 'run_phases=[\"{config.run_phases[0]}\"]'",
        )
    config = next(iter(phase_configs(config).values()), config)
    keras.utils.set_random_seed(config.seed)
    config = check_config(merge(config.model_dump(mode="json"), {"data": {"folds": 0}}))
    sets = build_datasets(config, skip_bad=skip_bad)
    with new_run(out, config, Launch()) as run:
        job = prepare_job(config, sets, run, resolve("recipes", config.recipe), devices)
    test = range_test(job, steps=steps)
    table = write_text(run.folder / "lr_range.csv", test.table.to_csv(index=False))
    return LearningRate(test.suggestion, table, _draw(test, run.figures / "lr_range.png"))


def _draw(test: RangeTest, path: Path) -> Path:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.semilogx(test.table["learning_rate"], test.table["loss"], color="0.7", linewidth=1, label="batch")
    axes.semilogx(test.table["learning_rate"], test.table["smoothed"], color="#0072B2", linewidth=2, label="smoothed")
    axes.axvline(test.suggestion, color="#D55E00", linestyle="--", label=f"steepest fall: {test.suggestion:.2g}")
    axes.set(xlabel="learning rate", ylabel="loss", title="learning-rate range test")
    axes.legend(frameon=False)
    return save_figure(figure, path)
