"""`covidcxr data import`: the folder of a public data set to a manifest."""

from __future__ import annotations

import json
from pathlib import Path

import click

from covidcxr_tf import catalog


def _listing() -> str:
    return "\b\nSources:\n" + "\n".join(f"  {name:<16} {entry.summary}" for name, entry in catalog.SOURCES.items())


@click.command(epilog=_listing())
@click.argument("source")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT.csv", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that the manifest's paths are relative to; it contains DIR. Default: OUT.csv's folder if that "
    "contains DIR, else DIR.",
)
@click.option("--with-lateral", is_flag=True, help="Keep lateral films too (view L); they are left out otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(source: str, folder: Path, out: Path, root: Path | None, with_lateral: bool, as_json: bool) -> None:
    """Write a manifest OUT.csv of the films that lie in DIR, unpacked as SOURCE publishes them.

    Labels become normal, pneumonia, bacterial, viral, tuberculosis, covid19 or other; the set's own words stay in the
    column original_finding. Masks in parts (montgomery, jsrt) and raw films (jsrt) are written as PNG beside OUT.csv.
    """
    from covidcxr_tf.data.sources.importing import import_films

    catalog.entry("sources", source)
    done = import_films(source, folder, out, root=root, with_lateral=with_lateral)
    result = done.as_dict()
    for note in result["notes"]:
        click.echo(note, err=True)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    click.echo(f"{out}: {result['films']} films of {result['patients']} patients, {result['masks']} with a lung mask")
    for kind in ("labels", "sources", "views"):
        click.echo(f"  {kind}: " + ", ".join(f"{name} {count}" for name, count in result[kind].items()))
    if done.derived is not None:
        click.echo(f"  converted files: {done.derived}")
    if done.needs_root:
        click.echo(f"  the paths begin at {done.root}: give --root '{done.root}' to later commands")
