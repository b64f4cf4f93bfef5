"""`covidcxr data demo`: synthetic films, masks and a manifest."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--patients", default=60, show_default=True, help="At least 3 for each label.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same films.")
@click.option("--size", default=512, show_default=True, help="Longest side of a film in pixels.")
@click.option(
    "--labels",
    default="normal,covid19,pneumonia",
    show_default=True,
    help="Also bacterial, viral, tuberculosis, other; separated by commas.",
)
@click.option("--shortcut", is_flag=True, hidden=True, help="Tie hospital and burnt-in caption to the label.")
def command(out: Path, patients: int, seed: int, size: int, labels: str, shortcut: bool) -> None:
    """Write synthetic chest films with exact lung and heart masks and a manifest to OUT.

    The films come from a small physical phantom, from several made-up hospitals. They serve to try the commands and
    to test them; a model that knows only them knows nothing about patients.
    """
    from covidcxr_tf.data.synthetic import write_demo

    names = [name.strip() for name in labels.split(",") if name.strip()]
    progress = _show if sys.stderr.isatty() else None
    manifest = write_demo(out, patients, seed, size, names, shortcut=shortcut, progress=progress)
    click.echo(str(manifest))


def _show(done: int, total: int) -> None:
    click.echo(f"\r{done} of {total} films", err=True, nl=done == total)
