"""Round a model's large kernels so that its file compresses better, for a repository that has little room.

    python scripts/round_kernels.py runs/covid_classifier rounded.keras --steps 32

Each kernel keeps as many steps as fit `--steps` times into its standard deviation, a power of two apart. What that does
to the answers is not judged here: train from the file with ``--init rounded.keras --set train.learning_rate=1e-30
--set model.frozen_to=LAYER --epochs 1``, which calibrates and judges the rounded model, then ship that run.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import click
import numpy as np

#: Values of the smallest kernel that is rounded: small ones are the first, and all others see what they lose.
FROM = 5_000


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--steps", default=32, show_default=True, type=click.IntRange(1), help="In a standard deviation.")
def main(run: Path, target: Path, steps: int) -> None:
    """Write RUN's model with rounded kernels to TARGET, a .keras file, and print the bytes before and after."""
    from covidcxr_tf.models.files import load_model, save_model

    if target.exists():
        raise click.ClickException(f"{target} exists; expected a new file")
    model, facts = load_model(run / "model.keras")
    before = model.get_weights()
    after = [rounded(values, steps) for values in before]
    model.set_weights(after)
    save_model(model, target, facts)
    sizes = [sum(len(zlib.compress(as_shipped(values))) for values in weights) for weights in (before, after)]
    click.echo(json.dumps({"kernels_from": FROM, "steps": steps, "bytes": sizes[0], "bytes_rounded": sizes[1]}))


def rounded(values: np.ndarray, steps: int) -> np.ndarray:
    """Return a kernel of `FROM` values or more in whole steps, float32; anything else as it is."""
    deviation = float(values.std())
    if values.ndim < 2 or values.size < FROM or deviation == 0:
        return values
    step = np.float32(2.0 ** np.floor(np.log2(deviation / steps)))
    return (np.rint(values / step) * step).astype(np.float32)


def as_shipped(values: np.ndarray) -> bytes:
    """Return the bytes that `ship_model.py` writes before compression, if large kernels are halved."""
    large = values.ndim > 1 and values.size >= FROM
    return (values.astype(np.float16) if large else values).tobytes()


if __name__ == "__main__":
    main()
