from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.fft import dct

from covidcxr_tf.data.fingerprints import HASH_SIDE, fingerprint, perceptual_hash


def smooth_film(seed: int, rows: int = 96, columns: int = 80) -> np.ndarray:
    """Return a film of broad shapes, float32 in [0, 1]: noise of 12 x 12 cells, enlarged."""
    cells = np.random.default_rng(seed).random((12, 12), dtype=np.float32)
    film = np.asarray(Image.fromarray(cells).resize((columns, rows), Image.Resampling.BICUBIC))
    return (film - film.min()) / (film.max() - film.min())


def save(film: np.ndarray, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(film * 255).astype(np.uint8)).save(path, **options)  # type: ignore[arg-type]
    return path


def apart(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.bitwise_count(perceptual_hash(one) ^ perceptual_hash(other)).sum())


def table(root: Path, *paths: str, **columns: list[str]) -> pd.DataFrame:
    films = pd.DataFrame({"path": paths, "label": "normal", "patient_id": [f"p{k}" for k in range(len(paths))]})
    films = films.assign(**columns)
    films.attrs.update(root=str(root.resolve()), manifest="m.csv")
    return films


def test_the_hash_is_the_sign_of_the_low_frequencies() -> None:
    film = smooth_film(0, 64, 64)  # at the hash's own size nothing is resized
    grey = np.rint(film * 255)
    low = dct(dct(grey, axis=0), axis=1)[:HASH_SIDE, :HASH_SIDE]
    bits = np.unpackbits(perceptual_hash(film).view(np.uint8)).reshape(HASH_SIDE, HASH_SIDE)
    np.testing.assert_array_equal(bits, low > np.median(low))


def test_another_size_quality_or_contrast_is_the_same_picture() -> None:
    film = smooth_film(1, 192, 160)
    small = np.asarray(Image.fromarray(film).resize((80, 96), Image.Resampling.BOX))
    buffer = io.BytesIO()
    Image.fromarray(np.rint(film * 255).astype(np.uint8)).save(buffer, format="JPEG", quality=50)
    jpeg = np.asarray(Image.open(buffer), dtype=np.float32) / 255
    for copy in (small, jpeg, film * 0.6 + 0.2):
        assert apart(film, copy) <= 32


def test_other_pictures_and_mirror_images_are_not() -> None:
    film = smooth_film(2)
    others = [smooth_film(seed) for seed in range(3, 23)]
    assert min(apart(film, other) for other in others) > 60  # chance is 128, standard deviation 8
    assert apart(film, film[:, ::-1]) > 60


def test_one_pass_over_the_files(tmp_path: Path) -> None:
    good = save(smooth_film(1), tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no film")
    (tmp_path / "empty.png").touch()
    seen: list[int] = []
    prints = fingerprint(
        table(tmp_path, "good.png", "text.png", "empty.png", "none.png"), progress=lambda: seen.append(1)
    )
    assert len(seen) == 4
    assert prints.hashed.tolist() == [True, False, False, False]
    assert prints.sha256[0] == hashlib.sha256(good.read_bytes()).hexdigest()
    assert prints.sha256[1] == hashlib.sha256(b"no film").hexdigest()
    np.testing.assert_array_equal(prints.hashes[0], perceptual_hash(np.rint(smooth_film(1) * 255).astype("f4") / 255))
    assert [(fault.index, fault.column) for fault in prints.faults] == [(1, "path"), (2, "path"), (3, "path")]
    assert prints.faults[0].problem.startswith("text.png: ")
    assert prints.faults[2].problem == "none.png does not exist"


@pytest.mark.parametrize("threads", [1, 3])
def test_the_order_is_the_manifests_own(tmp_path: Path, threads: int) -> None:
    names = [f"{seed}.png" for seed in range(8)]
    for seed, name in enumerate(names):
        save(smooth_film(seed), tmp_path / name)
    films = table(tmp_path, *names).iloc[::-1]
    prints = fingerprint(films, threads=threads)
    assert prints.index.tolist() == list(range(7, -1, -1))
    expected = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names[::-1]]
    assert prints.sha256 == expected


def test_masks_are_opened_only_when_asked_for(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        save(smooth_film(1), tmp_path / name)
    save(np.ones((96, 80)), tmp_path / "right.png")
    save(np.ones((80, 96)), tmp_path / "turned.png")
    (tmp_path / "text.png").write_text("no mask")
    films = table(
        tmp_path, "a.png", "b.png", "c.png", "d.png", mask_path=["right.png", "turned.png", "", "none.png"],
        heart_mask_path=["", "", "text.png", ""],
    )  # fmt: skip
    assert fingerprint(films).faults == []
    faults = {(fault.index, fault.column): fault.problem for fault in fingerprint(films, masks=True).faults}
    assert set(faults) == {(1, "mask_path"), (2, "heart_mask_path"), (3, "mask_path")}
    assert faults[1, "mask_path"] == "mask is 80 x 96, its film 96 x 80 (rows x columns)"
    assert faults[3, "mask_path"] == "none.png does not exist"
