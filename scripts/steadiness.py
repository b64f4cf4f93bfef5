"""How far does an answer move when only the film's file changes? Each film again, as another file or a pixel aside.

    python scripts/steadiness.py --model covid_classifier --data cxr.csv --root cxr --split test

Printed is the largest change of a probability: median, 90th percentile, most, and the share of films that move by more
than 0.01; then by how many levels of 255 the network's input differs (root mean square; median, 90th percentile). Once
as `predict` would answer, and once with the lungs' box of the film as it is: what is left is not the crop's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Change = Callable[[Any, Any], Any]

#: A change of a probability that a reader would see.
SEEN = 0.01


@click.command()
@click.option("--model", default="covid_classifier", show_default=True, metavar="M")
@click.option("--data", required=True, metavar="MANIFEST")
@click.option("--root", metavar="DIR", help="Folder that the manifest's paths start from, if not its own.")
@click.option("--split", default="test", show_default=True)
@click.option("--films", "most", default=60, show_default=True, type=click.IntRange(1), help="So many, drawn.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="One row a film and way, as CSV.")
def main(model: str, data: str, root: str | None, split: str, most: int, seed: int, out: Path | None) -> None:
    """Print by how much the probabilities of films move."""
    import numpy as np
    import pandas as pd

    from covidcxr_tf.data.manifest import film_path, load_manifest
    from covidcxr_tf.files import write_text
    from covidcxr_tf.imaging.reading import read_image
    from covidcxr_tf.predict import load_model_for_films
    from covidcxr_tf.progress import track

    loaded = load_model_for_films(model)
    films = load_manifest(data, root=root, require=("path", "split"))
    films = films[films["split"] == split]
    random = np.random.default_rng(seed)
    chosen = sorted(random.permutation(films.index)[:most].tolist())
    rows = []
    for row in track(chosen, len(chosen), "films"):
        film = read_image(film_path(films, row))
        own = answer(loaded, film, film)
        for way, change in WAYS.items():
            other = change(film, random)
            moved = {"moved": answer(loaded, other, other), "same_box": answer(loaded, other, film)}
            cells: dict[str, Any] = {"path": films.at[row, "path"], "way": way}
            for name, (levels, chances) in moved.items():
                cells |= {name: float(abs(own[1] - chances).max()), f"{name}_levels": _levels_apart(own[0], levels)}
            rows.append(cells)
    table = pd.DataFrame(rows)
    if out:
        write_text(out, table.to_csv(index=False))
    click.echo(f"{loaded.name}, {len(chosen)} films: largest change of a probability")
    for way in WAYS:
        found = table[table["way"] == way]
        for column, title in (("moved", way), ("same_box", f"{way}, box kept")):
            values = found[column].to_numpy(np.float64)
            half, most_of, largest = np.quantile(values, [0.5, 0.9, 1.0])
            above = f"{np.mean(values > SEEN):.0%} of films by more than {SEEN}"
            seen = np.quantile(found[f"{column}_levels"].to_numpy(np.float64), [0.5, 0.9])
            levels = f"input {seen[0]:.2f}, {seen[1]:.2f} levels"
            click.echo(f"{title:32} median {half:.4f}, 90 % {most_of:.4f}, most {largest:.4f}; {above}; {levels}")


def answer(loaded: Any, film: Any, boxed: Any) -> tuple[Any, Any]:
    """Return input, uint8 (size, size, C), and probabilities, float64 (classes,), of a film in the box of `boxed`."""
    import numpy as np

    from covidcxr_tf.imaging.stack import model_input

    seen = loaded.film_input(boxed)
    levels = seen.array
    if boxed is not film:
        found = {"box": seen.box, "region": seen.region, "reference_histogram": loaded.reference}
        levels = model_input(film, loaded.image, **found)
    return levels, loaded.probabilities(levels[None].astype(np.float32) / np.float32(255))[0]


def _levels_apart(one: Any, other: Any) -> float:
    import numpy as np

    return float(np.sqrt(np.mean((one.astype(np.float64) - other) ** 2)))


def _jpeg(film: Any, random: Any) -> Any:
    """Return the film as a JPEG of quality 95 has it."""
    return _saved(film, ".jpg")


def _webp(film: Any, random: Any) -> Any:
    """Return the film as a lossy WebP of quality 95 has it, in 220 grey levels."""
    return _saved(film, ".webp")


def _saved(film: Any, ending: str) -> Any:
    import cv2

    from covidcxr_tf.imaging.levels import to_uint8
    from covidcxr_tf.imaging.reading import read_image

    quality = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY}[ending]
    return read_image(cv2.imencode(ending, to_uint8(film), [quality, 95])[1].tobytes(), name="film")


def _rounded(film: Any, random: Any) -> Any:
    """Return the film with half a level of 255 more or less, as if it had been rounded another way."""
    import numpy as np

    return np.clip(film + (random.random(film.shape, dtype=np.float32) - 0.5) / 255, 0, 1)


def _aside(film: Any, random: Any) -> Any:
    """Return the film without its first row and column."""
    return film[1:, 1:].copy()


WAYS: dict[str, Change] = {
    "JPEG of quality 95": _jpeg,
    "WebP of quality 95": _webp,
    "half a level of 255": _rounded,
    "a pixel cut off": _aside,
}


if __name__ == "__main__":
    main()
