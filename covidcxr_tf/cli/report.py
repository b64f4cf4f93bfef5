"""`covidcxr report`: a run folder as one HTML page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from covidcxr_tf.report.blocks import Picture

#: Worst errors shown with their films where nothing is said; none of them in a report without names.
GALLERY = 8


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--out", metavar="FILE.html", help="The page; by default RUN/report.html.")
@click.option("--audit", metavar="DIR", help="Folder of `covidcxr audit`, or audit.json; by default RUN/audit.")
@click.option("--anonymous", is_flag=True, help="Hashes for films, letters for sources; films only with --gallery.")
@click.option(
    "--gallery",
    type=click.IntRange(0),
    metavar="N",
    help=f"The N worst errors with film and heat map; 0: no films. By default {GALLERY}.",
)
@click.option("--data", metavar="MANIFEST", help="Films for the gallery, if not where the run's config says.")
@click.option("--root", metavar="DIR", help="Folder that the manifest's paths start from, if not its own.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written and what is missing as JSON.")
def command(
    run: str,
    out: str | None,
    audit: str | None,
    anonymous: bool,
    gallery: int | None,
    data: str | None,
    root: str | None,
    as_json: bool,
) -> None:
    """Write everything that a run folder knows as one self-contained HTML page.

    Figures within one source come first, then pooled ones beside what the audit found; calibration, subgroups, the
    worst errors, data, training, the paper's values, the CLAIM and TRIPOD+AI checklists as far as the run fills them.
    What is missing is named with the command that makes it. The page holds films of the gallery: look before you pass
    it on. For research, not for diagnosis.
    """
    from covidcxr_tf.files import write_text
    from covidcxr_tf.report.document import ERRORS_LISTED, build_report, render
    from covidcxr_tf.report.run_folder import read_run

    found = read_run(run, audit=audit, anonymous=anonymous)
    wanted = gallery if gallery is not None else (0 if anonymous else GALLERY)
    pictures: dict[str, Picture] = {}
    why = "No films in this page: it was made without a gallery."
    if wanted:
        from covidcxr_tf.report_gallery import gallery_pictures

        pictures, why = gallery_pictures(found, wanted, data, root)
    report = build_report(found, wanted or ERRORS_LISTED, pictures, why)
    page = write_text(out or f"{run}/report.html", render(report))
    lists = {
        one.caption: {state: one.count(state) for state in ("filled", "partly", "person")} for one in report.checklists
    }
    click.echo("for research, not for diagnosis", err=True)
    if as_json:
        missing = [{"what": one.what, "command": one.command} for one in report.missing]
        document = {"schema_version": 1, "report": str(page), "films": len(pictures), "missing": missing}
        click.echo(json.dumps({**document, "checklists": lists}, indent=2, ensure_ascii=False))
        return
    for one in report.missing:
        click.echo(f"missing: {one.what}" + (f"\n         {one.command}" if one.command else ""))
    for name, counts in lists.items():
        total = sum(counts.values())
        click.echo(f"{name}: {counts['filled']} of {total} filled, {counts['partly']} partly, {counts['person']} left")
    click.echo(f"films in the page: {len(pictures)}" + (f" ({why})" if why else ""))
    click.echo(f"report: {page}")
