"""`covidcxr segment`: lungs of films."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from covidcxr_tf.errors import UsageError


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--out", required=True, metavar="DIR", help="Folder for masks, overlays and the new manifest.")
@click.option("--model", default="lung_unet", show_default=True, metavar="M", help="Run folder, .keras or shipped.")
@click.option("--root", metavar="DIR", help="Folder that a manifest's paths start from, if not its own.")
@click.option("--skip-bad", type=click.IntRange(0), default=0, help="Leave out up to N unreadable films.")
@click.option("--frame", type=click.IntRange(0), metavar="N", help="Which frame of multi-frame films, from 0.")
@click.option(
    "--dicom-out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write each mask as a DICOM Segmentation of the film's study; films must be DICOM.",
)
@click.option("--json", "as_json", is_flag=True, help="Print segmentation.json.")
def command(
    inputs: tuple[str, ...],
    out: str,
    model: str,
    root: str | None,
    skip_bad: int,
    frame: int | None,
    dicom_out: Path | None,
    as_json: bool,
) -> None:
    """Find the lungs of films, folders or a manifest: masks, overlays, quality."""
    from covidcxr_tf.lung_finder import LungFinder
    from covidcxr_tf.segmentation_files import films_of, segment_films

    if frame is not None and dicom_out is not None:
        raise UsageError("--frame with --dicom-out: results refer to a whole film", remedy="leave one of them away")
    films = films_of(inputs, root)
    if dicom_out is not None:
        from covidcxr_tf.dicom.out import check_sources

        unfit = check_sources(films["file"], skip_bad=skip_bad)
        for fault in unfit.values():
            click.echo(f"left out: {fault}", err=True)
        films, skip_bad = films[~films["file"].isin(unfit)], skip_bad - len(unfit)
    finder = LungFinder.load(model)
    done = segment_films(films, finder, out, skip_bad=skip_bad, frame=frame)
    for fault in done.bad:
        click.echo(f"left out: {fault}", err=True)
    objects = [] if dicom_out is None else _dicom(done, finder, Path(out), dicom_out)
    if as_json:
        click.echo(json.dumps(done.document, indent=2, ensure_ascii=False))
        return
    for row in done.document["films"]:
        quality = row["lung_mask_quality"]
        why = f" ({', '.join(quality['reasons'])})" if quality["reasons"] else ""
        click.echo(f"{row['mask_path']}: {quality['verdict']}{why}")
    for path in objects:
        click.echo(str(path))
    click.echo(f"lung network: {finder.name}, sha256 {finder.sha256[:12]}")
    click.echo(f"manifest: {done.manifest} (use with --root {done.root})")


def _dicom(done: Any, finder: Any, out: Path, folder: Path) -> list[Path]:
    from covidcxr_tf.dicom.out import write_segmentations

    films = {}
    for row in done.document["films"]:
        files = {"lungs": out / row["mask_path"]}
        if "heart_mask_path" in row:
            files["heart"] = out / row["heart_mask_path"]
        films[Path(done.root) / row["film"]] = files
    return write_segmentations(films, finder, folder)
