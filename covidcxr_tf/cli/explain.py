"""`covidcxr explain`: heat maps beside the bare film."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from covidcxr_tf.catalog import EXPLAINERS
from covidcxr_tf.errors import DataError, UsageError


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--model", help="Run folder, .keras file or shipped model's name; the shipped classifier by default.")
@click.option("--method", type=click.Choice(list(EXPLAINERS)), default="gradcam", show_default=True)
@click.option("--target", metavar="CLASS", help="Class to look into; the predicted one by default.")
@click.option("--out", default="explanations", show_default=True, metavar="DIR", type=click.Path(path_type=Path))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Of LIME's samples.")
@click.option("--samples", default=1000, show_default=True, type=click.IntRange(2), help="LIME's perturbed films.")
@click.option("--root", metavar="DIR", help="Folder that a manifest's paths start from, if not its own.")
@click.option("--frame", type=click.IntRange(0), metavar="N", help="Which frame of multi-frame films, from 0.")
@click.option(
    "--dicom-out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Also write a segmentation, the heat map and a report as DICOM of the film's study; films must be DICOM.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_context
def command(
    ctx: click.Context,
    images: tuple[str, ...],
    model: str | None,
    method: str,
    target: str | None,
    out: Path,
    seed: int,
    samples: int,
    root: str | None,
    frame: int | None,
    dicom_out: Path | None,
    as_json: bool,
) -> None:
    """Show where on a film a model found its class.

    IMAGE is a film (PNG, JPEG, WebP, TIFF, BMP, GIF, DICOM), a folder of films, or one manifest (CSV, Parquet): then
    its films, and not the masks beside them. Each film gives a picture (bare film and overlay), a heat map of the
    film's size and a JSON file. For research, not for diagnosis.
    """
    click.echo("for research, not for diagnosis", err=True)
    if out.exists() and not out.is_dir():
        raise UsageError("is a file", where=out, expected="a folder for the results", remedy="name another --out")
    if frame is not None and dicom_out is not None:
        raise UsageError("--frame with --dicom-out: results refer to a whole film", remedy="leave one of them away")
    films, failed = _find(images, root)
    document: dict[str, Any] = {"schema_version": 1, "films": [], "failed": failed}
    if films:
        options = {"method": method, "target": target, "seed": seed, "samples": samples}
        document |= _explain(films, failed, model, out, as_json, options, dicom_out, frame)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    if failed:
        ctx.exit(DataError.exit_code)


def _find(images: tuple[str, ...], root: str | None) -> tuple[list[Path], list[dict[str, str]]]:
    """Return the films that the arguments name, each once, and those arguments that name none."""
    from covidcxr_tf.imaging.reading import find_images
    from covidcxr_tf.segmentation_files import films_of, is_manifest

    films: dict[Path, None] = {}
    failed: list[dict[str, str]] = []
    manifest = any(is_manifest(image) for image in images)
    for image in images:
        try:
            found = map(Path, films_of(images, root)["file"]) if manifest else find_images([image])
            films |= dict.fromkeys(found)
        except DataError as fault:
            _report(fault, image, failed)
    return list(films), failed


def _explain(
    films: list[Path],
    failed: list[dict[str, str]],
    model: str | None,
    out: Path,
    as_json: bool,
    options: dict[str, Any],
    dicom_out: Path | None = None,
    frame: int | None = None,
) -> dict[str, Any]:
    """Explain each film, print what came of it, and return the model's and the films' part of the JSON document."""
    from covidcxr_tf.explain.film import check_target
    from covidcxr_tf.files import distinct_stems
    from covidcxr_tf.predict import describe, load_model_for_films
    from covidcxr_tf.progress import Progress

    loaded = load_model_for_films(model)
    if options["target"] is not None:
        check_target(loaded, options["target"])
    explain = _explainer(loaded, out, dicom_out, frame)
    origin = "shipped model" if model is None else "model"
    if not as_json:
        click.echo(f"{origin}: {describe(loaded)}")
    done = []
    for number, (path, stem) in enumerate(zip(films, distinct_stems(films)), start=1):
        if len(films) > 1:
            click.echo(f"film {number}/{len(films)}: {path}", err=True)
        lime = options["method"] == "lime"
        progress = Progress(options["samples"], f"LIME, {path.name}", "samples") if lime else None
        try:
            report = progress.advance if progress else None
            done.append(explain(path, stem, **options, report=report))
        except DataError as fault:
            _report(fault, str(path), failed)
            continue
        if progress:
            progress.close()
        if not as_json:
            _print(done[-1])
    return {"model": {"origin": origin, "described": describe(loaded)}, "films": done}


def _explainer(loaded: Any, out: Path, dicom_out: Path | None, frame: int | None) -> Callable[..., dict[str, Any]]:
    """Return what explains the film at a path, writes its files and returns its part of the JSON document."""
    if dicom_out is None:
        from covidcxr_tf.explain.files import explain_file

        return lambda path, stem, **options: explain_file(loaded, path, out, stem, frame=frame, **options)
    from covidcxr_tf.dicom.out import Explainer, explain_dicom_file

    explainer = Explainer(loaded)
    return lambda path, stem, **options: explain_dicom_file(explainer, path, out, stem, dicom_out, **options)


def _print(entry: dict[str, Any]) -> None:
    chances = ", ".join(f"{name} {chance:.3f}" for name, chance in entry["probabilities"].items())
    share, why = entry["heat_in_lungs"], entry.get("heat_in_lungs_why")
    heat = f"heat in the lungs: {100 * share:.0f} %" if share is not None else f"heat in the lungs: unknown, {why}"
    cut = entry.get("called_from")
    called = f"; {cut['class']} is called from {cut['probability']:.3f}" if cut else ""
    click.echo(f"{entry['path']}: {entry['predicted']} ({chances}{called})")
    for warning in entry["warnings"]:
        click.echo(f"  warning: {warning}")
    click.echo(f"  {entry['method']} for {entry['target_class']}; {heat}")
    for file in (*entry["files"].values(), *entry.get("dicom", {}).values()):
        click.echo(f"  {file}")


def _report(fault: DataError, path: str, failed: list[dict[str, str]]) -> None:
    click.echo(f"error: {fault}", err=True)
    failed.append({"path": path, "error": str(fault)})
