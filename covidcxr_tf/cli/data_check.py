"""`covidcxr data check`: faults of a manifest and of its films."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the paths, if not the manifest's own.")
@click.option("--config", help="A config whose classes table names labels of your own.")
@click.option("--no-images", is_flag=True, help="Check the table only; open no film.")
@click.option(
    "--radius",
    type=click.IntRange(0, 256),
    default=32,
    show_default=True,
    help="Bits of 256 in which similar films may differ.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document with every fault and pair.")
def command(manifest: Path, root: Path | None, config: str | None, no_images: bool, radius: int, as_json: bool) -> None:
    """Look for faults in MANIFEST: schema, unreadable files, duplicates, leakage; and for label x source.

    Exit code 4 where there is a fault; a warning is none.
    """
    from covidcxr_tf.config import load_config
    from covidcxr_tf.data.check import check_manifest
    from covidcxr_tf.data.schema import LABELS
    from covidcxr_tf.errors import CheckFailed
    from covidcxr_tf.files import plain

    classes = load_config(config).classes.values() if config else ()
    known = dict.fromkeys((*(label for taken in classes for label in taken), *LABELS))
    report = check_manifest(manifest, root, labels=known, images=not no_images, radius=radius)
    click.echo(json.dumps(plain(report.as_dict()), indent=2, ensure_ascii=False) if as_json else report.as_text())
    if not report.ok:
        count = len(report.faults)
        raise CheckFailed(f"{count} fault" + ("s" if count > 1 else ""), where=manifest, remedy="see the report")
