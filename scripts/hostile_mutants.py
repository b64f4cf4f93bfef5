"""Broken PNG, JPEG and DICOM files of one synthetic film, made by seed: what `hostile.py` has read."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from hostile_edits import ANY, OWN
from PIL import Image

SIDE = 96


class Mutant(NamedTuple):
    """A broken file: what it was, what was done to it, its bytes."""

    name: str
    kind: str
    content: bytes


def film_levels(bits: int = 8) -> np.ndarray:
    """Return a synthetic chest film, uint8 or uint16 (96, 96)."""
    from covidcxr_tf.data.film import make_film

    film = make_film("normal", seed=0, size=SIDE).film
    return np.rint(film * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def seeds() -> dict[str, list[tuple[str, bytes]]]:
    """Return whole files by kind: (what it is, its bytes)."""
    small, deep = Image.fromarray(film_levels()), Image.fromarray(film_levels(16))
    png: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("grey", small, {}),
        ("16 bits", deep, {}),
        ("RGBA", small.convert("RGBA"), {}),
        ("palette", small.convert("P"), {}),
    ]
    jpeg: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("grey", small, {"quality": 90}),
        ("progressive", small.convert("RGB"), {"progressive": True}),
        ("restarts", small.convert("RGB"), {"restart_marker_blocks": 4}),
        ("CMYK", small.convert("CMYK"), {}),
    ]
    others: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("TIFF", deep, {"compression": "tiff_lzw"}),
        ("TIFF", small, {"compression": "tiff_deflate"}),
        ("TIFF", deep, {}),
        ("WEBP", small.convert("RGB"), {"lossless": True}),
        ("GIF", small, {}),
        ("BMP", small, {}),
    ]
    return {
        "PNG": [(f"PNG {what}", _saved(image, "PNG", options)) for what, image, options in png],
        "JPEG": [(f"JPEG {what}", _saved(image, "JPEG", options)) for what, image, options in jpeg],
        "DICOM": list(_dicom_seeds()),
        "others": [(what, _saved(image, what, options)) for what, image, options in others],
    }


def _saved(image: Image.Image, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def dicom_film(levels: np.ndarray, bits: int, syntax: Any = None, **elements: Any) -> bytes:
    """Return a frontal chest film as a DICOM file, compressed where `syntax` says so; None takes an element out."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, RLELossless

    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.3.4", "1.2.3.5"
    made.Modality, made.BodyPartExamined, made.ViewPosition = "DX", "CHEST", "PA"
    made.Rows, made.Columns = levels.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = 8 * levels.itemsize, bits, bits - 1
    made.PixelRepresentation = 0
    made.PixelData = levels.tobytes()
    made["PixelData"].VR = "OB" if levels.itemsize == 1 else "OW"
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if syntax is not None and syntax.is_encapsulated:
        plugin = "pydicom" if syntax == RLELossless else ""
        made.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    elif syntax is not None:
        made.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _dicom_seeds() -> Iterator[tuple[str, bytes]]:
    from pydicom import uid
    from pydicom.dataset import Dataset
    from pydicom.encaps import encapsulate

    deep = film_levels(12)
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [4096, 0, 12], np.arange(4096, dtype="<u2").tobytes()
    table["LUTDescriptor"].VR, table["LUTData"].VR = "US", "OW"
    window = {"WindowCenter": 2000, "WindowWidth": 3500}
    yield "DICOM bare", dicom_film(deep, 12, **window)
    yield "DICOM implicit", dicom_film(deep, 12, uid.ImplicitVRLittleEndian, VOILUTSequence=[table])
    yield "DICOM deflated", dicom_film(deep, 12, uid.DeflatedExplicitVRLittleEndian)
    yield "DICOM 2 frames", dicom_film(np.stack([deep, deep]), 12, NumberOfFrames=2)
    for name in ("RLELossless", "JPEG2000Lossless", "JPEGLSLossless"):
        try:
            yield f"DICOM {name}", dicom_film(deep, 12, getattr(uid, name), **window)
        except RuntimeError:  # no encoder for it is installed
            continue
    stream = _saved(Image.fromarray(film_levels()), "JPEG", {"quality": 90})
    packed = encapsulate([stream])
    bare = dicom_film(film_levels(), 8)
    head = bare[: bare.rindex(b"\xe0\x7f\x10\x00")].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.50", 1)
    head = _meta_lengthened(head, 2)
    yield "DICOM JPEG", head + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + packed + b"\xfe\xff\xdd\xe0\0\0\0\0"


def _meta_lengthened(head: bytes, more: int) -> bytes:
    """Return the file's head with `more` bytes in its transfer syntax, and so in its meta information."""
    total = int.from_bytes(head[140:144], "little") + more
    at = head.index(b"\x02\x00\x10\x00UI") + 6
    length = int.from_bytes(head[at : at + 2], "little") + more
    return head[:140] + struct.pack("<I", total) + head[144:at] + struct.pack("<H", length) + head[at + 2 :]


def mutants(
    count: int, seed: int = 0, kinds: tuple[str, ...] = ("PNG", "JPEG", "DICOM"), only: str | None = None
) -> Iterator[Mutant]:
    """Give `count` broken files, the kinds in turn, or those of `only` among them; the same ones for the same seed."""
    whole = seeds()
    for number in range(count):
        random = np.random.default_rng([seed, number])
        kind = kinds[number % len(kinds)]
        if only is not None and kind != only:
            continue
        name, content = whole[kind][int(random.integers(len(whole[kind])))]
        ways = [*ANY, *OWN.get(kind, ())]
        done = []
        for _ in range(1 + int(random.random() < 0.25)):
            way = ways[int(random.integers(len(ways)))]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pydicom's remarks on what is broken on purpose
                content = way(content, random)
            done.append(way.__name__.strip("_"))
        yield Mutant(f"{name}, {' and '.join(done)} (mutant {number} of seed {seed})", kind, content)
