import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageOps

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.reading import encode_png16, find_images, image_size, is_image_path, read_image, read_mask

SIDES = st.integers(32, 48)
LUMA = np.array([19595, 38470, 7471]) / 65536

FROM_UPRIGHT = {
    1: lambda film: film,
    2: lambda film: film[:, ::-1],
    3: lambda film: film[::-1, ::-1],
    4: lambda film: film[::-1],
    5: lambda film: film.T,
    6: lambda film: np.rot90(film),
    7: lambda film: film[::-1, ::-1].T,
    8: lambda film: np.rot90(film, -1),
}
"""EXIF orientation -> how a camera so held stores the upright film."""


def films(kind):
    levels = hnp.arrays(kind, st.tuples(SIDES, SIDES))
    return levels.filter(lambda film: film.min() != film.max())


def noise(shape=(40, 50), kind=np.uint8, seed=0):
    top = np.iinfo(kind).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype=kind, endpoint=True)


def smooth(rows=64, columns=80):
    """A film that JPEG keeps well: two ramps and a bright block."""
    row, column = np.mgrid[:rows, :columns]
    film = 40 + row + column
    film[10:30, 20:40] += 60
    return film.astype(np.uint8)


def encoded(image, kind="PNG", **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(np.ascontiguousarray(image))
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def png(colour_type, depth, rows, columns, lines, chunks=()):
    """A PNG written by hand, for the kinds that PIL does not write."""

    def chunk(tag, body):
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, depth, colour_type, 0, 0, 0))
    extra = b"".join(chunk(tag, body) for tag, body in chunks)
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines)))
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels + chunk(b"IEND", b"")


@settings(max_examples=20, deadline=None)
@given(films(np.uint8), st.sampled_from(["PNG", "TIFF", "BMP", "GIF"]))
def test_8_bit_grey_is_level_over_255(levels, kind):
    film = read_image(encoded(levels, kind))
    assert film.dtype == np.float32
    np.testing.assert_array_equal(film, levels.astype(np.float32) / np.float32(255))


@settings(max_examples=20, deadline=None)
@given(films(np.uint16), st.sampled_from([("PNG", None), ("TIFF", None), ("TIFF", "tiff_lzw")]))
def test_16_bit_grey_is_level_over_65535(levels, how):
    kind, compression = how
    options = {"compression": compression} if compression else {}
    film = read_image(encoded(levels, kind, **options))
    assert np.abs(film - levels / 65535).max() < 1 / 65535 / 4


@settings(max_examples=15, deadline=None)
@given(hnp.arrays(np.float32, st.tuples(SIDES, SIDES), elements=st.floats(0, 1, width=32)))
def test_encoded_png16_comes_back(film):
    if np.rint(film * 65535).min() == np.rint(film * 65535).max():
        film[0, 0] = 1 - film[0, 0].round()
    assert np.abs(read_image(encode_png16(film)) - film).max() <= 0.5 / 65535 + 1e-7


def test_a_dark_film_stays_dark():
    levels = np.full((40, 40), 3, dtype=np.uint16)
    levels[5, 5] = 300
    assert read_image(encoded(levels)).max() == pytest.approx(300 / 65535)


def test_colour_is_bt601_luma_and_grey_colour_is_grey():
    colour = noise((40, 50, 3))
    np.testing.assert_allclose(read_image(encoded(colour)), colour @ LUMA / 255, atol=1e-6)
    # PIL rounds the same sum to whole levels.
    assert np.abs(read_image(encoded(colour)) * 255 - np.asarray(Image.fromarray(colour).convert("L"))).max() <= 0.5001
    levels = noise()
    np.testing.assert_array_equal(read_image(encoded(np.dstack([levels] * 3))), read_image(encoded(levels)))


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_colour_keeps_its_16_bits(suffix):
    colour = noise((40, 50, 3), np.uint16)
    content = cv2.imencode(suffix, colour[..., ::-1])[1].tobytes()
    assert np.abs(read_image(content) - colour @ LUMA / 65535).max() < 1e-6


def test_16_bit_grey_with_alpha():
    both = noise((40, 50, 2), np.uint16)
    content = png(4, 16, 40, 50, [line.astype(">u2").tobytes() for line in both])
    expected = both[..., 0] / 65535 * both[..., 1] / 65535
    assert np.abs(read_image(content) - expected).max() < 1e-6


def test_16_bit_tiff_with_white_as_zero_is_inverted():
    levels = noise(kind=np.uint16)
    film = read_image(encoded(levels, "TIFF", tiffinfo={262: 0}))
    assert np.abs(film - (1 - levels / 65535)).max() < 1e-6


@pytest.mark.parametrize("alpha", [255, 77, 0])
def test_constant_alpha_is_ignored(alpha):
    colour = noise((40, 50, 3))
    content = encoded(np.dstack([colour, np.full((40, 50), alpha, np.uint8)]))
    np.testing.assert_array_equal(read_image(content), read_image(encoded(colour)))


def test_varying_alpha_lays_the_film_over_black():
    levels, alpha = noise(), noise(seed=1)
    film = read_image(encoded(Image.merge("LA", [Image.fromarray(levels), Image.fromarray(alpha)])))
    np.testing.assert_allclose(film, levels / 255 * (alpha / 255), atol=1e-6)


def test_palette_is_read_by_its_colours():
    indices = noise() % 7
    colours = noise((7, 3), seed=2)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    stored = encoded(image)
    assert Image.open(io.BytesIO(stored)).mode == "P"
    np.testing.assert_array_equal(read_image(stored), read_image(encoded(colours[indices])))


def test_one_bit_is_black_and_white():
    inside = noise() > 128
    np.testing.assert_array_equal(read_image(encoded(inside)), inside.astype(np.float32))


@pytest.mark.parametrize("depth", [2, 4])
def test_few_bits_are_scaled_by_their_own_range(depth):
    levels = noise((40, 48)) % 2**depth
    per_byte = 8 // depth
    packed = sum(levels[:, at::per_byte].astype(int) << (8 - depth * (at + 1)) for at in range(per_byte))
    content = png(0, depth, 40, 48, [line.tobytes() for line in packed.astype(np.uint8)])
    np.testing.assert_allclose(read_image(content), levels / (2**depth - 1), atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_of_every_kind(mode, options):
    film = read_image(encoded(Image.fromarray(smooth()).convert(mode), "JPEG", quality=95, **options))
    assert np.abs(film - smooth() / 255).max() < 0.05


def test_lossless_webp_and_first_pictures():
    first, second = noise(), noise(seed=1)
    pages = [Image.fromarray(second)]
    webp = encoded(Image.fromarray(np.dstack([first] * 3)), "WEBP", lossless=True)
    np.testing.assert_array_equal(read_image(webp), first.astype(np.float32) / 255)
    for kind in ("GIF", "TIFF"):
        content = encoded(Image.fromarray(first), kind, save_all=True, append_images=pages)
        np.testing.assert_array_equal(read_image(content), first.astype(np.float32) / 255)
        np.testing.assert_array_equal(read_image(content, frame=1), second.astype(np.float32) / 255)
        with pytest.raises(ImageError, match="no frame 2; expected 0 to 1"):
            read_image(content, frame=2)
    with pytest.raises(ImageError, match="no frame 1"):
        read_image(webp, frame=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_every_exif_orientation_gives_the_upright_film(kind, orientation):
    upright = smooth()
    stored = Image.fromarray(np.ascontiguousarray(FROM_UPRIGHT[orientation](upright)))
    stored = stored.convert("RGB") if kind == "WEBP" else stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 97}}.get(kind, {})
    content = encoded(stored, kind, exif=exif, **options)
    film = read_image(content)
    assert image_size(content) == film.shape == upright.shape
    assert np.abs(film - upright / 255).max() < (0.03 if kind == "JPEG" else 1e-6)
    by_pil = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("L")
    np.testing.assert_allclose(film * 255, np.asarray(by_pil), atol=1e-3)


def test_broken_exif_is_no_orientation():
    content = encoded(smooth(), "JPEG", exif=b"Exif\0\0garbage that is no TIFF header at all")
    assert read_image(content).shape == (64, 80)


def test_path_bytes_and_file_object_give_the_same(tmp_path):
    content = encoded(noise())
    path = tmp_path / "named_wrongly.jpg"
    path.write_bytes(content)
    film = read_image(content)
    for source in (path, str(path), bytearray(content), memoryview(content), io.BytesIO(content)):
        np.testing.assert_array_equal(read_image(source), film)
    with path.open("rb") as stream:
        np.testing.assert_array_equal(read_image(stream), film)
    assert image_size(path) == (40, 50)


def test_float_tiff_is_taken_as_it_is_and_refused_beyond_its_range():
    film = np.random.default_rng(0).random((40, 50), dtype=np.float32)
    np.testing.assert_array_equal(read_image(encoded(film, "TIFF")), film)
    for bad, said in ((np.nan, "nan"), (np.inf, "inf"), (255.0, "255.0"), (-1.0, "-1.0")):
        broken = film.copy()
        broken[3, 7] = bad
        with pytest.raises(ImageError, match=f"pixel row 3, column 7 is {said}"):
            read_image(encoded(broken, "TIFF"))


def test_32_bit_integers_have_no_nominal_range():
    with pytest.raises(ImageError, match="no nominal range"):
        read_image(encoded(noise().astype(np.int32), "TIFF"))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_the_same_level_everywhere_is_no_picture(level):
    with pytest.raises(ImageError, match="no picture: every pixel is"):
        read_image(encoded(np.full((40, 40), level, np.uint8)))


def test_size_limits_come_before_decoding():
    with pytest.raises(ImageError, match="1x1 film is too small"):
        read_image(encoded(np.ones((1, 1), np.uint8)))
    with pytest.raises(ImageError, match="31x40 film is too small"):
        read_image(encoded(noise((31, 40))))
    with pytest.raises(ImageError, match="40x50 = 2000 pixels are too many; expected at most 1999"):
        read_image(encoded(noise()), max_pixels=1999)
    assert read_image(encoded(noise()), max_pixels=2000).size == 2000
    # 1 Gpx declared, no pixels at all: refused by the header, not for the missing pixels.
    huge = png(0, 8, 32000, 32000, [])
    with pytest.raises(ImageError, match=r"too large|too many"):
        read_image(huge)


def test_files_that_are_none(tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    for source, said in (
        (tmp_path / "missing.png", "missing.png: no such file"),
        (tmp_path, "is a folder"),
        (empty, "is empty"),
        (b"", "is empty"),
        (io.BytesIO(b""), "is empty"),
        (io.StringIO("text"), "gives text"),
        (b"Just some text, long enough to be no picture", "holds no picture"),
        ("nul\0byte.png", "cannot be opened"),
    ):
        for reader in (read_image, image_size, read_mask):
            if isinstance(source, (io.BytesIO, io.StringIO)):
                source.seek(0)
            with pytest.raises(ImageError, match=said):
                reader(source)


def test_other_types_are_a_defect_of_the_caller():
    with pytest.raises(TypeError, match="NoneType"):
        read_image(None)


def test_forbidden_file(tmp_path, monkeypatch):
    path = tmp_path / "film.png"
    path.write_bytes(encoded(noise()))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root, who may run the tests, reads every file
    with pytest.raises(ImageError, match="may not be read"):
        read_image(path)


def test_errors_carry_the_name_that_was_given():
    with pytest.raises(ImageError) as caught:
        read_image(b"no film", name="m.csv, row 3, column path")
    assert str(caught.value).startswith("m.csv, row 3, column path: ")
    assert caught.value.exit_code == 3


def mutants(content, seed, count=60):
    random = np.random.default_rng(seed)
    for _ in range(count):
        broken = bytearray(content)
        if random.random() < 0.3:
            del broken[int(random.integers(1, len(broken))) :]
        else:
            for at in random.integers(0, len(broken), int(random.integers(1, 6))):
                broken[at] = random.integers(256)
        if random.random() < 0.1:
            at = int(random.integers(0, len(broken)))
            del broken[at : at + int(random.integers(1, 40))]
        yield bytes(broken)


@pytest.mark.parametrize("reader", [read_image, read_mask, image_size])
@pytest.mark.parametrize("kind", ["PNG", "PNG16", "JPEG", "PROGRESSIVE", "TIFF", "TIFF16", "LZW", "WEBP", "GIF", "BMP"])
def test_damaged_files_are_read_or_refused_and_nothing_else(kind, reader):
    grey, deep = smooth(), smooth().astype(np.uint16) * 257
    contents = {
        "PNG16": lambda: encoded(deep),
        "TIFF16": lambda: encoded(deep, "TIFF"),
        "LZW": lambda: encoded(grey, "TIFF", compression="tiff_lzw"),
        "PROGRESSIVE": lambda: encoded(grey, "JPEG", progressive=True),
    }
    content = contents.get(kind, lambda: encoded(grey, kind))()
    for mutant in mutants(content, seed=sum(kind.encode())):
        try:
            result = reader(mutant)
        except ImageError as error:
            assert "\n" not in str(error)
            continue
        if reader is read_image:
            assert result.dtype == np.float32
            assert 0 <= result.min() < result.max() <= 1
        if reader is read_mask:
            assert set(np.unique(result)) <= {0, 1}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(min_size=1, max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"BM"])
)
def test_noise_behind_a_magic_number_is_refused(content, magic):
    with pytest.raises(ImageError):
        read_image(magic + content)


def test_truncated_png_and_flipped_pixels_are_refused():
    content = encoded(noise())
    with pytest.raises(ImageError, match="damaged"):
        read_image(content[: len(content) // 2])
    start = content.index(b"IDAT") + 200
    flipped = content[:start] + bytes([content[start] ^ 1]) + content[start + 1 :]
    with pytest.raises(ImageError, match="damaged"):
        read_image(flipped)


def test_damaged_jpeg_is_refused_unless_tolerated():
    content = bytearray(encoded(noise(), "JPEG"))
    middle = content.index(b"\xff\xda") + 200
    content[middle : middle + 40] = bytes(40)
    with pytest.raises(ImageError, match="the JPEG is damaged"):
        read_image(bytes(content))
    assert read_image(bytes(content), tolerate_damage=True).shape == (40, 50)


def test_decoders_do_not_flood(capfd):
    big = encoded(np.zeros((9500, 9500), dtype=bool))  # 90 Mpx: PIL warns
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert image_size(big) == (9500, 9500)
        for mutant in mutants(encoded(smooth(), "TIFF"), seed=3):
            try:
                read_image(mutant)
            except ImageError:
                continue
        before = list(warnings.filters)
        threads = [threading.Thread(target=image_size, args=(big,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert warnings.filters == before
    assert caught == []
    assert capfd.readouterr() == ("", "")


def test_mask_is_what_is_not_zero():
    levels = (noise() % 3).astype(np.uint8)
    inside = (levels > 0).astype(np.uint8)
    mask = read_mask(encoded(levels))
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, inside)
    np.testing.assert_array_equal(read_mask(encoded(levels.astype(np.uint16))), inside)
    np.testing.assert_array_equal(read_mask(encoded(inside.astype(bool))), inside)
    np.testing.assert_array_equal(read_mask(encoded(np.dstack([0 * levels, levels, 0 * levels]))), inside)
    np.testing.assert_array_equal(read_mask(encoded(np.zeros((40, 40), np.uint8))), 0)


def test_mask_in_palette_and_alpha():
    inside = noise() > 100
    palette = Image.fromarray(np.where(inside, 3, 0).astype(np.uint8))
    palette.putpalette(bytes([0, 0, 0, 9, 9, 9, 9, 9, 9, 200, 0, 0]))
    assert palette.mode == "P"
    np.testing.assert_array_equal(read_mask(encoded(palette)), inside)
    drawn_in_alpha = np.zeros((40, 50, 4), np.uint8)
    drawn_in_alpha[..., 3] = np.where(inside, 255, 0)
    np.testing.assert_array_equal(read_mask(encoded(drawn_in_alpha)), inside)
    opaque = np.dstack([np.where(inside, 255, 0).astype(np.uint8)] * 3 + [np.full((40, 50), 255, np.uint8)])
    np.testing.assert_array_equal(read_mask(encoded(opaque)), inside)
    see_through = np.dstack([noise((40, 50, 3)) | 1, np.where(inside, 255, 0).astype(np.uint8)])
    np.testing.assert_array_equal(read_mask(encoded(see_through)), inside)


def test_mask_from_jpeg_has_no_halo():
    inside = np.zeros((64, 64), np.uint8)
    inside[16:48, 20:44] = 255
    np.testing.assert_array_equal(read_mask(encoded(inside, "JPEG", quality=60)), inside // 255)


def test_names_of_films():
    for name in (
        "a.png",
        "A.PNG",
        "b.jfif",
        "c.TIFF",
        "d.webp",
        "e.dcm",
        "f.dicom",
        "IM000001",
        "1.2.840.113619.2.55.3",
    ):
        assert is_image_path(f"folder.d/{name}"), name
    for name in ("manifest.csv", ".hidden.png", "DICOMDIR", "notes.txt", "model.keras"):
        assert not is_image_path(name), name


def test_films_of_a_folder_in_order(tmp_path):
    for name in ("b/2.png", "b/1.jpg", "a.webp", "table.csv", ".cache/x.png", "README"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "IM1").write_bytes(bytes(128) + b"DICM")
    expected = [tmp_path / name for name in ("IM1", "a.webp", "b/1.jpg", "b/2.png")]
    assert find_images(tmp_path) == expected
    assert find_images([tmp_path / "b" / "2.png", tmp_path]) == [expected[3], *expected[:3]]
    assert find_images([str(tmp_path / "table.csv")]) == [tmp_path / "table.csv"]
    with pytest.raises(ImageError, match="no such file"):
        find_images([tmp_path / "none.png"])
    (tmp_path / "none").mkdir()
    with pytest.raises(ImageError, match="no film in this folder"):
        find_images([tmp_path, tmp_path / "none"])


def test_reading_needs_no_tensorflow():
    code = "import sys, covidcxr_tf.imaging.reading; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_empty_name_is_not_the_folder_at_hand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write = Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64))
    write.save(tmp_path / "film.png")
    with pytest.raises(ImageError, match="empty name"):
        find_images([""])
    assert find_images(["."]) != []
