"""`covidcxr prepare`: films and a config to shards."""

from __future__ import annotations

import json

import click


@click.command()
@click.argument("manifest")
@click.option("--config", "config_name", required=True, metavar="C", help="Config file or shipped name.")
@click.option("--out", required=True, metavar="DIR", help="Folder for shards and manifest.")
@click.option("--root", metavar="DIR", help="Folder that the manifest's paths start from, if not its own.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, as in image.size=224.")
@click.option("--skip-bad", type=click.IntRange(0), default=0, help="Set aside up to N unreadable films.")
def command(
    manifest: str, config_name: str, out: str, root: str | None, overrides: tuple[str, ...], skip_bad: int
) -> None:
    """Read, crop and enhance the films of MANIFEST once, into TFRecord shards."""
    from pathlib import Path

    from covidcxr_tf.config import load_config
    from covidcxr_tf.recipes.datasets import open_manifest, prepare_films

    given = {"data.manifest": manifest, "data.root": root}
    changes = [*overrides, *(f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None)]
    config = load_config(config_name, changes)
    films = open_manifest(config, masks=config.task == "segmentation")
    prepared, _ = prepare_films(config, films, out=Path(out), skip_bad=skip_bad)
    for group, files in prepared.files.items():
        click.echo(f"{group}: {prepared.count(group)} films in {len(files)} shards")
    click.echo(f"prepared films: {prepared.folder}")
