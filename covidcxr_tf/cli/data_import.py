"""`covidcxr data import`: the folder of a public data set to a manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from covidcxr_tf import catalog
from covidcxr_tf.errors import UsageError

#: No data set of one's own form but a way to store films: it has options that the readers of data sets have not.
DICOM = "dicom"


def _listing() -> str:
    lines = [f"  {name:<16} {entry.summary}" for name, entry in catalog.SOURCES.items()]
    lines.append(f"  {DICOM:<16} DICOM films of a folder, a DICOMDIR or a zip; hashed patient ids")
    return "\b\nSources:\n" + "\n".join(lines)


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
@click.option(
    "--labels",
    metavar="CSV",
    type=click.Path(path_type=Path),
    help="dicom: table of label and one of path, SOPInstanceUID, StudyInstanceUID, AccessionNumber, PatientID.",
)
@click.option(
    "--salt-file",
    metavar="F",
    type=click.Path(path_type=Path, dir_okay=False),
    help="dicom: salt of the hashed ids, made where it is missing; OUT.salt by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    source: str,
    folder: Path,
    out: Path,
    root: Path | None,
    with_lateral: bool,
    labels: Path | None,
    salt_file: Path | None,
    as_json: bool,
) -> None:
    """Write a manifest OUT.csv of the films that lie in DIR, unpacked as SOURCE publishes them.

    Labels become normal, pneumonia, bacterial, viral, tuberculosis, covid19 or other; the set's own words stay in the
    column original_finding. Masks in parts (montgomery, jsrt) and raw films (jsrt) are written as PNG beside OUT.csv.

    With SOURCE dicom, DIR is a folder, a DICOMDIR or a zip. Patients get hashed ids, the manufacturer is the source,
    and OUT.skipped.csv says why a file is no chest film. Labels come from --labels alone, else the cell stays empty.
    """
    if source == DICOM:
        _dicom(folder, out, as_json, root=root, with_lateral=with_lateral, labels=labels, salt_file=salt_file)
        return
    if labels is not None or salt_file is not None:
        raise UsageError("--labels and --salt-file are for dicom", expected=f"the source {DICOM}")
    _data_set(source, folder, out, root, with_lateral, as_json)


def _dicom(folder: Path, out: Path, as_json: bool, **options: Any) -> None:
    from covidcxr_tf.data.dicom_import import import_dicom

    result = import_dicom(folder, out, **options).as_dict()
    for note in result["notes"]:
        click.echo(note, err=True)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    click.echo(f"{out}: {result['films']} films of {result['patients']} patients, {result['labelled']} with a label")
    for kind in ("labels", "sources", "views"):
        named = [f"{name or 'none'} {count}" for name, count in result[kind].items()]
        click.echo(f"  {kind}: " + ", ".join(named))
    click.echo(f"  left out: {result['skipped']['files']} files, reasons in {result['skipped']['file']}")
    click.echo(f"  salt of the ids: {result['salt']} (keep it: the same salt gives a patient the same id again)")
    if result["needs_root"]:
        click.echo(f"  the paths begin at {result['root']}: give --root '{result['root']}' to later commands")


def _data_set(source: str, folder: Path, out: Path, root: Path | None, with_lateral: bool, as_json: bool) -> None:
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
