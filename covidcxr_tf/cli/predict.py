"""`covidcxr predict`: films to a table of probabilities."""

from __future__ import annotations

import re

import click

from covidcxr_tf.errors import ImageError, UsageError


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--model", metavar="M", help="Run folder or .keras file; by default the shipped classifier.")
@click.option("--out", required=True, metavar="FILE", help="Predictions table to write: .csv, or .parquet.")
@click.option("--root", metavar="DIR", help="Folder that a manifest's paths start from, if not its own.")
@click.option("--frame", type=click.IntRange(0), metavar="N", help="Which frame of multi-frame films, from 0.")
@click.option("--skip-bad", type=click.IntRange(0), default=0, help="Up to N unreadable films are no error.")
@click.option("--shard", metavar="I/N", help="Only the I-th of N shares of the films, from 1/N to N/N: one a worker.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run: what it had finished is kept.")
@click.option(
    "--part-films", type=click.IntRange(1), default=512, show_default=True, help="Films a kill can lose at most."
)
def command(
    inputs: tuple[str, ...],
    model: str | None,
    out: str,
    root: str | None,
    frame: int | None,
    skip_bad: int,
    shard: str | None,
    resume: bool,
    part_films: int,
) -> None:
    """Write the probabilities of films, folders or a manifest as a table, one row a film.

    A film that cannot be read gets a row with status 1 and no probabilities; the others are predicted, and the exit
    code is 3 unless --skip-bad allows it. `evaluate --predictions` takes the folder of all shards.
    """
    share = _shard(shard)
    from covidcxr_tf.interrupts import noted_signals

    with noted_signals() as signals:  # before TensorFlow is loaded, which takes its time
        from covidcxr_tf.predict import describe, load_any
        from covidcxr_tf.predict_many import predict_to_file
        from covidcxr_tf.run import films_to_predict

        loaded = load_any(model)
        films = films_to_predict(loaded, inputs, root=root)
        done = predict_to_file(
            loaded, films, out, shard=share, resume=resume, part_films=part_films, frame=frame, signals=signals
        )
    click.echo("for research, not for diagnosis", err=True)
    click.echo(f"{done.films} films: {out}")
    click.echo(f"model: {describe(loaded)}")
    if len(done.bad) > skip_bad:
        raise ImageError(
            f"{len(done.bad)} of {done.films} films could not be read, the first: {done.bad[0][1]}",
            where=out,
            remedy=f"the others are predicted; mend them and go on, or allow them with --skip-bad N (now {skip_bad})",
        )


def _shard(words: str | None) -> tuple[int, int] | None:
    """Return ``"2/8"`` as (2, 8)."""
    if words is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", words)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--shard {words}", expected="I/N with I from 1 to N, as in 1/4, 2/4, 3/4 and 4/4")
    return number, count
