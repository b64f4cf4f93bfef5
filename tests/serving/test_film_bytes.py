from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from covidcxr_tf.imaging.reading import read_image
from covidcxr_tf.serving.film_bytes import upright_films, upright_png
from covidcxr_tf.serving.limits import Limits

LIMITS = Limits()
LEVELS = np.random.default_rng(3).integers(0, 256, (40, 56)).astype(np.uint8)


def encoded(kind: str, levels: np.ndarray = LEVELS, orientation: int | None = None, **options: Any) -> bytes:
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format=kind, **options)
    return buffer.getvalue()


def levels_of(content: bytes) -> np.ndarray:
    """Return what a decoder sees that knows nothing of orientation, as the graph's."""
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_what_the_graph_decodes_stays_bit_for_bit(kind: str) -> None:
    content = encoded(kind)
    assert upright_png(content, LIMITS) is content


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_upright_exif_block_changes_nothing(kind: str) -> None:
    content = encoded(kind, orientation=1)
    assert upright_png(content, LIMITS) is content


def test_deep_png_stays() -> None:
    content = encoded("PNG", (LEVELS.astype(np.uint16) << 8) + 7)
    assert upright_png(content, LIMITS) is content


def test_a_tiff_of_16_bits_becomes_the_same_levels() -> None:
    deep = (LEVELS.astype(np.uint16) << 8) + 7
    turned = upright_png(encoded("TIFF", deep), LIMITS)
    assert turned.startswith(b"\x89PNG")
    np.testing.assert_array_equal(levels_of(turned), deep)


def test_webp() -> None:
    turned = upright_png(encoded("WEBP", lossless=True), LIMITS)
    np.testing.assert_array_equal(levels_of(turned), LEVELS.astype(np.uint16) * 257)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_rotated_films_come_upright(orientation: int) -> None:
    by_hand = {2: LEVELS[:, ::-1], 3: LEVELS[::-1, ::-1], 4: LEVELS[::-1], 5: LEVELS.T, 6: np.rot90(LEVELS, -1)}
    by_hand |= {7: LEVELS[::-1, ::-1].T, 8: np.rot90(LEVELS)}
    turned = upright_png(encoded("PNG", orientation=orientation), LIMITS)
    np.testing.assert_array_equal(levels_of(turned), by_hand[orientation].astype(np.uint16) * 257)
    jpeg = encoded("JPEG", orientation=orientation)
    np.testing.assert_allclose(levels_of(upright_png(jpeg, LIMITS)) / 65535, read_image(jpeg), rtol=0, atol=1 / 65535)


def test_dicom(tmp_path: Path) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset("film.dcm", {}, file_meta=meta, preamble=bytes(128))
    film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    film.Modality, film.ViewPosition = "DX", "PA"
    film.Rows, film.Columns = LEVELS.shape
    film.SamplesPerPixel, film.PixelRepresentation = 1, 0
    film.BitsAllocated, film.BitsStored, film.HighBit = 8, 8, 7
    film.PhotometricInterpretation = "MONOCHROME2"
    film.PixelData = LEVELS.tobytes()
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    content = (tmp_path / "film.dcm").read_bytes()
    turned = upright_png(content, LIMITS)
    np.testing.assert_allclose(levels_of(turned) / 65535, read_image(content), rtol=0, atol=1 / 65535)


@pytest.mark.parametrize("content", [b"", b"text", b"<svg/>", b"II*\x00", b"RIFF....WEBP", b"\x89PNG\r\n\x1a\n"])
def test_what_cannot_be_read_is_left_to_the_graph(content: bytes) -> None:
    assert upright_png(content, LIMITS) is content


def test_a_rotated_film_that_cannot_be_read_is_not_shown_the_wrong_way_up() -> None:
    content = encoded("JPEG", orientation=6)
    assert upright_png(content[: len(content) // 2], LIMITS) == b""


def test_too_many_pixels_are_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Limits(max_pixels=1000)
    tiff, rotated = encoded("TIFF"), encoded("PNG", orientation=6)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    assert upright_png(tiff, small) is tiff
    assert upright_png(rotated, small) in (rotated, b"")


def test_arrays_of_any_shape(film_of: Callable[..., bytes]) -> None:
    films = np.empty((2, 1), dtype=object)
    films[:] = [[film_of(1)], [encoded("TIFF")]]
    turned = upright_films(films, LIMITS)
    assert turned.shape == (2, 1)
    assert turned[0, 0] is films[0, 0]
    assert turned[1, 0].startswith(b"\x89PNG")


def test_served_as_if_it_had_been_png(serving: tuple, listen: Callable[[Any], int], ask: Callable[..., Any]) -> None:
    import base64

    from covidcxr_tf.serving.http import build_app

    kinds = [encoded("PNG"), encoded("TIFF"), encoded("WEBP", lossless=True)]
    body = {"instances": [{"b64": base64.b64encode(content).decode()} for content in kinds]}
    rows = ask(listen(build_app(*serving)), "POST", "/v1/models/toy:predict", body).json["predictions"]
    assert rows[0]["status"] == 0
    assert rows[1] == rows[0]
    assert rows[2] == rows[0]
