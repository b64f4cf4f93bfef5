"""`covidcxr reproduce`: a paper's experiments on one's own films, measured values beside the printed ones."""

from __future__ import annotations

import inspect
import json

import click

from covidcxr_tf.catalog import PAPERS, entry
from covidcxr_tf.errors import Stopped


@click.command()
@click.argument("key", metavar="KEY")
@click.option("--data", metavar="MANIFEST", help="Manifest of films; without it synthetic films are made.")
@click.option("--root", metavar="DIR", help="Folder that the manifest's paths start from, if not its own.")
@click.option("--masks", metavar="MANIFEST", help="Films with drawn lung masks, if not in --data (mask_path).")
@click.option("--masks-root", metavar="DIR", help="Folder that its paths start from, if not its own.")
@click.option("--out", metavar="DIR", help="Folder of the results; by default runs/reproduce_KEY.")
@click.option("--smoke", is_flag=True, help="Every experiment, shrunk to seconds.")
@click.option("--repeats", type=click.IntRange(1), default=1, show_default=True, help="Number of seeds.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The first seed.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Over every config, as in train.epochs=3; over some only, as in 'unet*:train.epochs=3'.",
)
@click.option("--only", multiple=True, metavar="EXPERIMENT", help="Only this experiment; may be given several times.")
@click.option("--json", "as_json", is_flag=True, help="Print reproduction.json.")
def command(
    key: str,
    data: str | None,
    root: str | None,
    masks: str | None,
    masks_root: str | None,
    out: str | None,
    smoke: bool,
    repeats: int,
    seed: int,
    settings: tuple[str, ...],
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run every experiment of a paper and print measured values beside the printed ones.

    KEY is one of the papers that `covidcxr papers` lists. What cannot be run with these films is printed as "not run",
    with the reason. The same command again goes on where it was interrupted: finished runs are read.
    """
    entry("papers", key)
    from covidcxr_tf.recipes.reproductions.readme import terminal_text
    from covidcxr_tf.recipes.reproductions.run import reproduce

    try:
        done = reproduce(key, data, root, out, smoke, repeats, seed, settings, only, masks, masks_root)
    except Stopped:
        # A single training says --resume, which this command does not have.
        kept = "stopped by SIGTERM; the run under way begins anew, finished ones are kept"
        raise Stopped(kept, remedy="run the same command again") from None
    if as_json:
        click.echo(json.dumps(done.document, indent=2, ensure_ascii=False, allow_nan=False))
        return
    click.echo(terminal_text(done.document, done.rows))
    for caveat in done.document["caveats"]:
        click.echo(f"note: {caveat}")
    click.echo(f"table, figure and README: {done.folder}")


command.help = f"{inspect.cleandoc(str(command.help))}\n\nPapers: {', '.join(PAPERS)}."
