"""`covidcxr export`: a trained run as a SavedModel with its whole path for pixels."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--name", help="Under which it is served; the model's own name by default.")
@click.option("--version", type=click.IntRange(1), help="Version number; the next free one by default.")
@click.option(
    "--variant",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="What the network computes in; bfloat16 only if it agrees.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(run: str, out: Path, name: str | None, version: int | None, variant: str, as_json: bool) -> None:
    """Write a trained classifier to OUT/NAME/N for TensorFlow Serving or ``covidcxr serve``.

    RUN is a run folder, a .keras file or a shipped model's name. Films go in as files (PNG, JPEG, BMP, GIF); reading,
    finding the lungs, equalisation and Grad-CAM are part of the graph. The written graph is loaded again and has to
    give the trained model's answers, or nothing is published (exit code 5). For research, not for diagnosis.
    """
    from covidcxr_tf.errors import UsageError
    from covidcxr_tf.export.saved_model import export_model

    if out.exists() and not out.is_dir():
        raise UsageError("is a file", where=out, expected="a folder for served models", remedy="name another OUT")

    def tell(words: str) -> None:
        click.echo(words, err=True)

    exported = export_model(run, out, name=name, version=version, variant=variant, progress=tell)  # type: ignore[arg-type]
    size = sum(path.stat().st_size for path in exported.folder.rglob("*") if path.is_file())
    if as_json:
        files = [str(path) for path in exported.server_files]
        document = {"schema_version": 1, "folder": str(exported.folder), "bytes": size, "server_files": files}
        click.echo(json.dumps({**document, "card": exported.card}, indent=2, ensure_ascii=False))
        return
    agreement = exported.card["agreement"]
    differences = ", ".join(f"{key} {value:.1e}" for key, value in agreement["largest_difference"].items())
    click.echo(f"{exported.folder}: {size / 1e6:.1f} MB, {variant}")
    click.echo(f"  signatures: {', '.join(exported.card['signatures'])}")
    click.echo(f"  largest differences from the trained model, {agreement['films']} films: {differences}")
    for path in exported.server_files:
        click.echo(f"  {path}")
    click.echo("  for research, not for diagnosis", err=True)
