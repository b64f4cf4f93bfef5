"""`covidcxr biomarkers`: lung markers of films, compared between classes."""

from __future__ import annotations

import json

import click

from covidcxr_tf.errors import UsageError


@click.command()
@click.argument("manifest", metavar="MANIFEST")
@click.option("--out", required=True, metavar="DIR", help="Folder for the tables and figures/.")
@click.option("--root", metavar="DIR", help="Folder that the manifest's paths start from, if not its own.")
@click.option(
    "--masks",
    type=click.Choice(["auto", "manifest", "model"]),
    default="auto",
    show_default=True,
    help="Lung and heart masks: the manifest's and else the network's; the manifest's only; the network's only.",
)
@click.option("--model", default="lung_unet", show_default=True, metavar="M", help="Run folder, .keras or shipped.")
@click.option(
    "--exclude-view", "views", multiple=True, metavar="VIEW", help="Leave out films of this view; repeatable."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the patches' places.")
@click.option("--skip-bad", type=click.IntRange(0), default=0, help="Leave out up to N unusable films.")
@click.option("--json", "as_json", is_flag=True, help="Print biomarkers.json.")
def command(
    manifest: str,
    out: str,
    root: str | None,
    masks: str,
    model: str,
    views: tuple[str, ...],
    seed: int,
    skip_bad: int,
    as_json: bool,
) -> None:
    """Lung intensity, patches, shape and cardiothoracic ratio, with tests between classes and between sources."""
    from covidcxr_tf.biomarker_study import measure_films, needs_network, without_views, write_study
    from covidcxr_tf.data.manifest import load_manifest
    from covidcxr_tf.report.biomarker_summary import summarise_markers

    films = without_views(load_manifest(manifest, root=root), views)
    if masks == "manifest" and "mask_path" not in films:
        raise UsageError("the manifest has no column mask_path", where=manifest, remedy="use --masks model")
    finder = None
    if needs_network(films, masks):  # type: ignore[arg-type]
        from covidcxr_tf.lung_finder import LungFinder

        finder = LungFinder.load(model)
    measured = measure_films(films, finder, masks, seed=seed, skip_bad=skip_bad)  # type: ignore[arg-type]
    for fault in measured.bad:
        click.echo(f"left out: {fault}", err=True)
    if measured.without_mask:
        click.echo(f"left out: {measured.without_mask} films without a lung mask in the manifest", err=True)
    document = write_study(measured, out)
    click.echo("for research, not for diagnosis", err=True)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo(summarise_markers(document))
    click.echo(f"tables: {out}/biomarkers.csv, tests.csv, by_source.csv, biomarkers.json")
    click.echo(f"figures: {out}/figures/")
