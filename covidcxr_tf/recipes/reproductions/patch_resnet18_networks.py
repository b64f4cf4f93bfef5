"""The patch paper's segmentation networks: their databases, their runs, and what they find on films.

The training database is the source with the most drawn hearts (the paper's: JSRT with SCR's drawings), or else the
largest; the others are the test (the paper's: NLM's Montgomery films), without patients that stand in both. Where there
is but one source, films are split by patient inside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from covidcxr_tf.data.manifest import film_path
from covidcxr_tf.data.splits import split_by_patient
from covidcxr_tf.imaging.reading import read_mask
from covidcxr_tf.judging import overlap_table
from covidcxr_tf.lung_finder import LungFinder
from covidcxr_tf.lungs.drawn_masks import has_heart_masks
from covidcxr_tf.recipes.outcome import Outcome
from covidcxr_tf.recipes.reproductions.bench import Bench
from covidcxr_tf.recipes.reproductions.patch_resnet18_films import (
    NAME_MASKS,
    NO_PATCHES,
    drawn_films,
    evenly,
    kept_table,
    training_share,
)

#: The paper's network, and what stands for it in a smoke run.
NETWORK, SMOKE = "fcdensenet103", "unet_four"
#: Films of NLM(MC), the paper's test.
TEST_FILMS = 138
RATIOS, RATIOS_OF_ONE = (0.8, 0.2, 0.0), (0.6, 0.2, 0.2)
#: Hearts of which more than this is also drawn as lung: the drawings count the lung behind the heart.
BEHIND = 0.25
BEHIND_HEARTS = 12  # drawings looked at
#: Settings meant for classifiers would not fit a network of masks.
FIXED = (NO_PATCHES, "image.lungs=none")
KINDS = {False: "preprocessed", True: "original"}
RAW = 'image.channels=["raw"]'


@dataclass(frozen=True)
class Databases:
    """Films of the segmentation.

    Attributes
    ----------
    bench : Bench
        Of all films with drawn masks.
    training : DataFrame
        ``split`` is train or validation.
    test : DataFrame
        Of no patient in `training`; index 0..n-1.
    organs : bool
        True where heart, left and right lung are learnt; False where only lungs are, as hearts are not drawn or the
        drawings count the lung behind the heart, which other databases may not.
    note : str
        Which these are.
    """

    bench: Bench
    training: pd.DataFrame
    test: pd.DataFrame
    organs: bool
    note: str


def missing_masks(bench: Bench) -> str:
    """Return why nothing can be segmented, or nothing."""
    return "" if bench.drawn() is not None else f"not run: no film has a drawn lung mask; {NAME_MASKS}"


def missing_hearts(bench: Bench) -> str:
    """Return why no heart can be found, or nothing."""
    drawn = bench.drawn()
    if drawn is not None and has_heart_masks(drawn.manifest).any():
        return ""
    return f"not run: no film has a drawn mask of its heart; {NAME_MASKS}"


def databases(bench: Bench) -> Databases:
    """Return training and test films of the segmentation, split by the bench's seed."""
    drawn = drawn_films(bench)
    films = drawn.manifest
    source = films["source"].astype(str) if "source" in films else pd.Series("", index=films.index)
    hearts = pd.Series(has_heart_masks(films), index=films.index)
    counts = pd.DataFrame({"hearts": hearts.groupby(source).sum(), "films": source.value_counts()})
    first = str(counts.sort_values(["hearts", "films"], ascending=False, kind="stable").index[0])
    # A label that one patient has would forbid the split; masks know no labels.
    alike = films.assign(label="film")
    if counts.shape[0] > 1:
        inside = split_by_patient(alike[source.eq(first)], RATIOS, bench.seed)["split"]
        outside = source.ne(first) & ~films["patient_id"].isin(films.loc[inside.index, "patient_id"])
        note = f"trained on {first}, tested on {', '.join(sorted(set(source[outside])))}"
    else:
        inside = split_by_patient(alike, RATIOS_OF_ONE, bench.seed)["split"]
        outside = inside.eq("test")
        inside = inside[~outside]
        note = "one source only: other patients of it, not another database"
    training = films.loc[inside.index].assign(split=inside)
    test = films[outside].reset_index(drop=True)
    for part in (training, test):
        part.attrs = films.attrs
    organs = bool(hearts[training.index].any()) and _behind(training) <= BEHIND
    return Databases(drawn, training, test, organs, f"{note}; {'heart and lungs' if organs else 'lungs alone'} learnt")


def train_network(
    bench: Bench, config: str = "", name: str = "", *, share: float = 1.0, raw: bool = False, organs: bool | None = None
) -> Outcome:
    """Return the finished run of a segmentation network on the training database.

    Parameters
    ----------
    bench : Bench
    config, name : str
        Config and name of the run; empty: the paper's network, and the config's name.
    share : float
        Of the training patients.
    raw : bool
        Films as they are instead of preprocessed ones.
    organs : bool, optional
        Whether the heart and each lung are learnt; by default as `Databases` has it.
    """
    config = config or (SMOKE if bench.smoke else NETWORK)
    sets = databases(bench)
    rows = training_share(sets.training.assign(label="film"), share, bench.seed)
    rows = rows.assign(label=sets.training["label"][rows.index])
    lungs_alone = () if (sets.organs if organs is None else organs) else ("classes={}", "train.loss=bce_dice")
    fixed = (*FIXED, *lungs_alone, *((RAW,) if raw else ()))
    name = name or f"segment_{config}"
    return sets.bench.train(config, name, films=sets.bench.films(rows, name), fixed=fixed)


def overlaps(bench: Bench, outcome: Outcome, *, raw: bool) -> pd.DataFrame:
    """Return the overlap with the drawn lungs of the test films, as `judging.overlap_table`, at most `TEST_FILMS`.

    Parameters
    ----------
    bench : Bench
    outcome : Outcome
        From `train_network`.
    raw : bool
        Hand the network films as they are, else preprocessed; whatever it was trained on.
    """
    films = evenly(databases(bench).test, TEST_FILMS, bench.seed).reset_index(drop=True)
    films.attrs = databases(bench).test.attrs
    file = outcome.run.folder / f"overlap_{KINDS[raw]}.csv"
    return kept_table(file, films, lambda: overlap_table(finder_of(outcome, raw), films))


def _behind(films: pd.DataFrame) -> float:
    """Return the mean share of the drawn hearts that is drawn as lung too, from the first few drawings."""
    shares = []
    for row in films.index[has_heart_masks(films)][:BEHIND_HEARTS]:
        lung, heart = (read_mask(film_path(films, row, column)) != 0 for column in ("mask_path", "heart_mask_path"))
        if lung.shape == heart.shape and heart.any():
            shares.append(float(lung[heart].mean()))
    return float(np.mean(shares)) if shares else 0.0


def finder_of(outcome: Outcome, raw: bool) -> LungFinder:
    """Return a run's network with its films as they are or preprocessed."""
    found = LungFinder.load(outcome.run.folder)
    image = found.image.model_copy(update={"channels": ("raw",) if raw else ("universal",)})
    return LungFinder(found.model, image, found.name, found.sha256, found.path, found.classes)
