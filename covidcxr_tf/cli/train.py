"""`covidcxr train`: a config to a run folder."""

from __future__ import annotations

import json
from pathlib import Path

import click

from covidcxr_tf.catalog import ARCHS, entry
from covidcxr_tf.errors import UsageError


@click.command()
@click.option("--arch", metavar="NAME", help=f"Architecture with its default config: {', '.join(ARCHS)}.")
@click.option("--config", "config_name", metavar="FILE", help="A TOML file, or the name of a shipped config.")
@click.option("--data", metavar="MANIFEST", help="Manifest of films; without it synthetic films are made.")
@click.option("--root", metavar="DIR", help="Folder that the manifest's paths start from, if not its own.")
@click.option("--out", metavar="RUN", help="Run folder; by default runs/NAME.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, as in train.epochs=3.")
@click.option("--epochs", type=click.IntRange(1), help="Short for --set train.epochs=N.")
@click.option("--init", metavar="WEIGHTS", help="imagenet, none, chexnet:FILE or FILE.")
@click.option("--seed", type=click.IntRange(0), help="Seed of split, weights, order and augmentation.")
@click.option("--skip-bad", type=click.IntRange(0), default=0, help="Set aside up to N unreadable films.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run: of --out, or the newest of runs/NAME.")
@click.option("--devices", default="all", show_default=True, metavar="N|all|cpu", help="Devices to train on.")
@click.option("--smoke", is_flag=True, help="The same run, shrunk to about a minute of CPU.")
@click.option("--find-lr", is_flag=True, help="Only run the learning-rate range test and print its curve's best.")
@click.option("--profile", is_flag=True, help="Write a TensorBoard profile of steps 10 to 20 into RUN/tensorboard.")
@click.option("--json", "as_json", is_flag=True, help="Print the metrics as JSON.")
def command(
    arch: str | None,
    config_name: str | None,
    data: str | None,
    root: str | None,
    out: str | None,
    overrides: tuple[str, ...],
    epochs: int | None,
    init: str | None,
    seed: int | None,
    skip_bad: int,
    resume: bool,
    devices: str,
    smoke: bool,
    find_lr: bool,
    profile: bool,
    as_json: bool,
) -> None:
    """Train a model; writes a run folder with model, predictions, metrics and figures.

    Where the environment variable TF_CONFIG names several machines, the same command runs on each of them, and its
    first worker writes the run folder.
    """
    from covidcxr_tf.train.task import read_task

    if read_task() is not None and find_lr:
        raise UsageError("--find-lr where TF_CONFIG names several workers", expected="one process: unset TF_CONFIG")
    if resume and find_lr:
        raise UsageError("--resume with --find-lr", expected="one of the two: the range test takes minutes")
    if (arch is None) == (config_name is None) and not (resume and out and arch is None):
        raise UsageError("name either --arch or --config", expected="one of the two, as in --arch chexnet")
    if arch is not None:
        entry("archs", arch)
    if arch is None and config_name is None:  # the run knows its own config
        config_name = str(Path(str(out)) / "config.toml")
        if not Path(config_name).is_file():
            raise UsageError("there is no run to resume", where=out, remedy="name --arch or --config to begin one")
    given = {"data.manifest": data, "data.root": root, "model.init": init}
    changes = [*overrides, *(f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None)]
    changes += [f"train.epochs={epochs}"] if epochs is not None else []
    changes += [f"seed={seed}"] if seed is not None else []
    from covidcxr_tf.train.stopping import stop_signals

    with stop_signals():  # before TensorFlow is loaded, which takes its time
        _train(arch, config_name, changes, smoke, out, resume, find_lr, devices, skip_bad, profile, as_json)


def _train(
    arch: str | None,
    config_name: str | None,
    changes: list[str],
    smoke: bool,
    out: str | None,
    resume: bool,
    find_lr: bool,
    devices: str,
    skip_bad: int,
    profile: bool,
    as_json: bool,
) -> None:
    from covidcxr_tf.config import list_configs, load_config

    if config_name is None and arch not in list_configs():
        # An architecture without a config of its name, as one that a user has just added: trained as COVID-CXNet is.
        config_name, changes = "chexnet", [f"arch={arch}", f"name={arch}", *changes]
        click.echo(f"no config is called '{arch}': training it with the settings of 'chexnet'", err=True)
    config = load_config(config_name or str(arch), changes, smoke=smoke)
    if not config.data.manifest:
        click.echo(
            "no --data: training on SYNTHETIC films. What comes out shows that the tool works, and nothing about "
            "patients.",
            err=True,
        )
    from covidcxr_tf.train.run_dir import free_folder, last_folder

    base = Path("runs") / config.name
    folder = Path(out) if out else last_folder(base) if resume else free_folder(base)
    if resume:
        click.echo(f"resuming {folder}" if folder.exists() else f"nothing to resume in {folder}: a new run", err=True)
    if find_lr:
        from covidcxr_tf.recipes.learning_rate import find_learning_rate

        found = find_learning_rate(config, folder, devices=devices, skip_bad=skip_bad)
        click.echo(f"steepest fall of the loss at a learning rate of {found.suggestion:.2g}; curve: {found.figure}")
        return
    from covidcxr_tf.recipes.execute import execute
    from covidcxr_tf.train.distribution import connect

    outcome = execute(config, folder, devices=devices, skip_bad=skip_bad, resume=resume, profile=profile)
    if not connect(devices).is_chief:
        return
    if as_json:
        click.echo(json.dumps({"run": str(outcome.run.folder), "metrics": outcome.metrics}, indent=2))
        return
    from covidcxr_tf.report.summary import summarise

    click.echo(summarise(outcome.metrics))
    click.echo(f"run folder: {outcome.run.folder}")
