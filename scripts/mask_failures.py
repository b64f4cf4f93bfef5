"""Does the quality verdict of lung masks notice its own failures? Films with drawn masks, as they are and spoilt.

    python scripts/mask_failures.py --data lungs.csv --root lungs --out failures.csv

Each film of the validation and test patients is shown as it is and in nine spoilt ways. A failure is a Dice below
0.85; the area is that of the quality score for failures against the rest: whole, without its marks for films that are
shown wrongly (an inverted film may well have a good mask), and of the Dice that the network expects alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

#: Dice below which a mask has failed.
FAILED = 0.85


@click.command()
@click.option("--data", required=True, metavar="MANIFEST", help="With mask_path and split.")
@click.option("--root", metavar="DIR", help="Folder that the manifest's paths start from, if not its own.")
@click.option("--model", default="lung_unet", show_default=True, metavar="M")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="One row a film and way, as CSV.")
def main(data: str, root: str | None, model: str, seed: int, out: Path | None) -> None:
    """Print Dice, quality and the area by which quality tells failures."""
    import numpy as np
    import pandas as pd

    from covidcxr_tf.data.manifest import film_path, load_manifest
    from covidcxr_tf.evaluate.roc import areas
    from covidcxr_tf.evaluate.segmentation import score_masks
    from covidcxr_tf.files import write_text
    from covidcxr_tf.imaging.reading import read_image
    from covidcxr_tf.lung_finder import LungFinder
    from covidcxr_tf.lungs.drawn_masks import drawn_mask
    from covidcxr_tf.lungs.masks import mask_quality
    from covidcxr_tf.progress import track

    films = load_manifest(data, root=root, require=("path", "patient_id", "mask_path"))
    films = films[films["split"] != "train"]
    finder = LungFinder.load(model)
    random = np.random.default_rng(seed)
    rows = []
    for row in track(list(films.index), len(films), "films"):
        film = read_image(film_path(films, row))
        for way, shown, truth in spoilt(film, drawn_mask(films, row, film.shape), random):
            found = finder.segment(shown)
            scores = score_masks(truth, found.mask)
            rows.append(
                {
                    "path": films.at[row, "path"],
                    "way": way,
                    "dice": scores["dice"],
                    "score": found.quality.score,
                    "mask_score": mask_quality(found.mask, found.probabilities).score,
                    "expected_dice": found.quality.expected_dice,
                    "verdict": found.quality.verdict,
                }
            )
    table = pd.DataFrame(rows)
    if out:
        write_text(out, table.to_csv(index=False))
    failed = (table["dice"] < FAILED).to_numpy()
    table["good"] = table["verdict"] == "good"
    click.echo(table.groupby("way")[["dice", "score", "expected_dice", "good"]].mean().round(3).to_string())
    click.echo(f"failures (Dice < {FAILED}): {failed.sum()} of {len(table)}")
    for name in ("score", "mask_score", "expected_dice"):
        click.echo(f"AUC of {name} for them: {areas(-table[name].to_numpy(np.float64), failed)[0]:.3f}")
    noticed = (table["verdict"] != "good").to_numpy()
    as_they_are = (table["way"] == "as it is").to_numpy()
    click.echo(
        f"failures not called good: {noticed[failed].mean():.3f}; films as they are called good: "
        f"{1 - noticed[as_they_are].mean():.3f}"
    )


def spoilt(film: Any, mask: Any, random: Any) -> Iterator[tuple[str, Any, Any]]:
    """Give the ways a film is shown: name, film float32 and the mask that belongs to it."""
    import cv2
    import numpy as np

    rows, columns = film.shape
    yield "as it is", film, mask
    field = cv2.resize(random.normal(size=(4, 4)).astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
    white = film + (1 - film) * np.clip(field, 0, 1) * random.uniform(0.6, 1)
    yield "white patches", white.astype(np.float32), mask
    noisy = film + random.normal(size=film.shape) * random.uniform(0.1, 0.4)
    yield "noise", np.clip(noisy, 0, 1).astype(np.float32), mask
    yield "flat", (0.5 + (film - 0.5) * random.uniform(0.02, 0.2)).astype(np.float32), mask
    yield "inverted", 1 - film, mask
    yield "on its left", np.rot90(film).copy(), np.rot90(mask).copy()
    yield "on its head", film[::-1].copy(), mask[::-1].copy()
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), float(random.choice([-1, 1]) * random.uniform(30, 90)), 1)
    turned = cv2.warpAffine(mask, turn, (columns, rows), flags=cv2.INTER_NEAREST)
    yield "turned 30 to 90 degrees", cv2.warpAffine(film, turn, (columns, rows)), turned
    kept = columns * 6 // 10
    yield "right part cut off", film[:, :kept].copy(), mask[:, :kept].copy()
    yield "blurred", cv2.GaussianBlur(film, (0, 0), random.uniform(4, 16)), mask


if __name__ == "__main__":
    main()
