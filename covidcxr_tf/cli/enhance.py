"""`covidcxr enhance`: one film, enhanced."""

from __future__ import annotations

import click

from covidcxr_tf.catalog import ENHANCERS


@click.command()
@click.argument("image", metavar="IMAGE")
@click.option("--out", required=True, type=click.Path(file_okay=False), metavar="DIR", help="Folder for the pictures.")
@click.option("--method", type=click.Choice(list(ENHANCERS)), default="clahe", show_default=True)
@click.option("--gamma", type=float, metavar="G", help="Above 0: slope of BEASF [1.5], exponent of universal [0.5].")
@click.option("--frame", type=click.IntRange(0), metavar="N", help="Which frame of multi-frame films, from 0.")
def command(image: str, out: str, method: str, gamma: float | None, frame: int | None) -> None:
    """Write <stem>_<method>.png and <stem>_<method>_comparison.png of a film.

    The film is enhanced as it was read: 8 bit, neither resized nor cropped.
    """
    from covidcxr_tf.imaging.enhance import enhance_film

    for path in enhance_film(image, out, method, gamma, frame):
        click.echo(path)
