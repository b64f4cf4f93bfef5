import io
import zlib

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from covidcxr_tf.errors import ImageError
from covidcxr_tf.imaging.dicom import read_dicom
from covidcxr_tf.imaging.dicom_grey import grey_table, window
from covidcxr_tf.imaging.dicom_header import is_dicom, read_header, view_of
from covidcxr_tf.imaging.reading import image_size, read_image


def ramp(bits=12, rows=64, columns=80, signed=False):
    """Every part of the stored range, lowest level first."""
    lowest = -(2 ** (bits - 1)) if signed else 0
    levels = np.linspace(lowest, lowest + 2**bits - 1, rows * columns).round()
    return levels.astype(np.int16 if signed else np.uint16).reshape(rows, columns)


def dataset(levels=None, bits=12, **elements):
    levels = ramp(bits) if levels is None else levels
    made = Dataset()
    made.SOPClassUID = DigitalXRayImageStorageForPresentation
    made.SOPInstanceUID = generate_uid(entropy_srcs=["film"])
    made.Modality = "DX"
    made.BodyPartExamined = "CHEST"
    made.ViewPosition = "PA"
    made.Rows, made.Columns = levels.shape[-2:] if levels.ndim == 2 else levels.shape[:2]
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated = 8 * levels.dtype.itemsize
    made.BitsStored = bits
    made.HighBit = bits - 1
    made.PixelRepresentation = int(levels.dtype.kind == "i")
    made.PixelData = levels.tobytes()
    made["PixelData"].VR = "OB" if made.BitsAllocated == 8 else "OW"
    for keyword, value in elements.items():
        if value is None:
            del made[keyword]
        else:
            setattr(made, keyword, value)
    return made


def written(made, syntax=ExplicitVRLittleEndian, preamble=True):
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    if preamble:
        made.save_as(buffer, enforce_file_format=True)
    else:
        del made.file_meta
        made.save_as(buffer, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    return buffer.getvalue()


def compressed(syntax, **elements):
    made = dataset(**elements)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plugin = "pydicom" if syntax == RLELossless else ""
    made.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
    return made


def lut(entries, first, bits):
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = np.asarray(entries, dtype="<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


def test_without_a_window_the_stored_bits_are_the_range():
    levels = ramp()
    levels[levels > 1000] = 1000
    film = read_image(written(dataset(levels)))
    np.testing.assert_allclose(film, levels / 4095, atol=1e-6)
    assert film.dtype == np.float32


def test_signed_levels_begin_at_the_lowest():
    levels = ramp(signed=True)
    film = read_image(written(dataset(levels)))
    np.testing.assert_allclose(film, (levels + 2048.0) / 4095, atol=1e-6)


def test_rescale_changes_nothing_but_a_negative_slope_turns():
    levels = ramp()
    plain = read_image(written(dataset(levels, RescaleSlope=2.5, RescaleIntercept=-1024)))
    np.testing.assert_allclose(plain, levels / 4095, atol=1e-6)
    turned = read_image(written(dataset(levels, RescaleSlope=-1, RescaleIntercept=0)))
    np.testing.assert_allclose(turned, 1 - levels / 4095, atol=1e-6)
    with pytest.raises(ImageError, match="RescaleSlope is 0"):
        read_image(written(dataset(levels, RescaleSlope=0, RescaleIntercept=0)))


def test_linear_window_by_hand():
    # PS3.3 C.11.2.1.2.1 with centre 100, width 51: black up to 74.5, white above 124.5, 99.5 in the middle.
    values = np.array([0, 74.5, 99.5, 112, 124.5, 4095.0])
    assert window(values, 100, 51).tolist() == [0, 0, 0.5, 0.75, 1, 1]
    # LINEAR_EXACT: from 75 to 125.
    assert window(np.array([75, 100, 125.0]), 100, 50, "LINEAR_EXACT").tolist() == [0, 0.5, 1]
    assert window(np.array([99.5, 99.6]), 100, 1).tolist() == [0, 1]
    sigmoid = window(np.array([-1e9, 100, 110, 1e9]), 100, 40, "SIGMOID")
    np.testing.assert_allclose(sigmoid, [0, 0.5, 1 / (1 + np.exp(-1)), 1], atol=1e-12)
    with pytest.raises(ImageError, match=r"VOI LUT function \(text that is not repeated\); expected LINEAR"):
        window(values, 100, 51, "CUBIC")


@pytest.mark.parametrize(
    "elements", [{}, {"RescaleSlope": 2, "RescaleIntercept": -1000}, {"VOILUTFunction": "SIGMOID"}]
)
def test_window_agrees_with_pydicom(elements):
    levels = ramp()
    made = dataset(levels, WindowCenter=1500, WindowWidth=900, **elements)
    film = read_image(written(made))
    slope, intercept = elements.get("RescaleSlope", 1), elements.get("RescaleIntercept", 0)
    by_pydicom = apply_voi_lut(apply_modality_lut(levels, made), made)
    expected = (by_pydicom - intercept) / (4095 * slope)
    np.testing.assert_allclose(film, expected, atol=1e-6)


def test_first_of_several_windows_and_useless_ones():
    levels = ramp()
    several = read_image(written(dataset(levels, WindowCenter=[1500, 40], WindowWidth=[900, 80])))
    single = read_image(written(dataset(levels, WindowCenter=1500, WindowWidth=900)))
    np.testing.assert_array_equal(several, single)
    plain = read_image(written(dataset(levels)))
    for centre, width in ((1500, 0), (1500, -5), (1500, ""), ("", 900)):
        np.testing.assert_array_equal(
            read_image(written(dataset(levels, WindowCenter=centre, WindowWidth=width))), plain
        )
    with pytest.raises(ImageError, match="into one grey"):
        read_image(written(dataset(levels, WindowCenter=-5000, WindowWidth=100)))


def test_voi_lut_wins_over_the_window_and_scales_by_its_bits():
    levels = ramp()
    entries = (np.arange(4096) // 64) ** 2  # up to 63 ** 2 = 3969 of 12 bits
    made = dataset(levels, VOILUTSequence=[lut(entries, 0, 12)], WindowCenter=1, WindowWidth=2)
    np.testing.assert_allclose(read_image(written(made)), entries[levels] / 4095, atol=1e-6)


def test_voi_lut_of_8_bits_with_4096_entries_does_not_wrap():
    levels = ramp()
    entries = np.arange(4096) // 16
    words = lut(entries, 0, 8)
    packed = lut(entries, 0, 8)
    packed.LUTData = entries.astype(np.uint8).tobytes()
    for item in (words, packed):
        film = read_image(written(dataset(levels, VOILUTSequence=[item])))
        np.testing.assert_allclose(film, (levels // 16) / 255, atol=1e-6)


def test_lut_extends_its_ends_and_first_value_counts():
    levels = ramp()
    entries = np.linspace(100, 900, 1000).round()
    made = dataset(levels, VOILUTSequence=[lut(entries, 2000, 10)])
    index = np.clip(levels.astype(int) - 2000, 0, 999)
    np.testing.assert_allclose(read_image(written(made)), entries[index] / 1023, atol=1e-6)


def test_lut_with_a_negative_first_value():
    levels = ramp(signed=True)
    made = dataset(levels, VOILUTSequence=[lut(np.arange(4096), 65536 - 2048, 12)])
    np.testing.assert_allclose(read_image(written(made)), (levels + 2048.0) / 4095, atol=1e-6)


def test_modality_lut_before_the_window():
    levels = ramp()
    entries = np.arange(4096)[::-1] * 4
    made = dataset(levels, ModalityLUTSequence=[lut(entries, 0, 14)], WindowCenter=8000, WindowWidth=4001)
    made.ModalityLUTSequence[0].ModalityLUTType = "US"
    expected = np.clip((entries[levels] - 7999.5) / 4000 + 0.5, 0, 1)
    np.testing.assert_allclose(read_image(written(made)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (lut(np.arange(300), 0, 8), "300 entries up to 299"),
        (lut(np.arange(300), 0, 20), "20 bits"),
        (lut(np.arange(300), 0, 7), "7 bits"),
    ],
)
def test_luts_that_contradict_themselves(item, said):
    with pytest.raises(ImageError, match=said):
        read_image(written(dataset(VOILUTSequence=[item])))
    short = lut(np.arange(300), 0, 12)
    short.LUTData = short.LUTData[:100]
    with pytest.raises(ImageError, match=r"expected 300 entries of 12 bits"):
        read_image(written(dataset(VOILUTSequence=[short])))


@pytest.mark.parametrize(
    "elements",
    [
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"PresentationLUTShape": "INVERSE"},
    ],
)
def test_inverted_once_after_the_window(elements):
    levels = ramp()
    film = read_image(written(dataset(levels, WindowCenter=1500, WindowWidth=901, **elements)))
    np.testing.assert_allclose(film, 1 - np.clip((levels - 1499.5) / 900 + 0.5, 0, 1), atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_background_whatever_the_polarity(photometric):
    levels = np.clip(ramp(), 300, 3900).astype(np.uint16)
    levels[:5], levels[5:8] = 0, 100
    made = dataset(levels, PhotometricInterpretation=photometric, PixelPaddingValue=0)
    film = read_image(written(made))
    assert (film[:5] == 0).all()
    assert (film[5:] > 0).all()
    made.PixelPaddingRangeLimit = 100
    film = read_image(written(made))
    assert (film[:8] == 0).all()
    assert (film[8:] > 0).all()


def test_padding_written_with_the_wrong_sign():
    levels = ramp(bits=16, signed=True)
    made = dataset(levels, bits=16)
    made.add_new("PixelPaddingValue", "US", 65536 - 2000)
    table = grey_table(made, "film")
    assert table[32768 - 2000] == 0
    assert (np.flatnonzero(table == 0) == [0, 32768 - 2000]).all()


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_native_syntaxes_give_the_same(syntax):
    np.testing.assert_allclose(read_image(written(dataset(), syntax)), ramp() / 4095, atol=1e-6)


def test_big_endian_and_headerless():
    swapped = dataset()
    swapped.PixelData = ramp().astype(">u2").tobytes()
    content = written(swapped, ExplicitVRBigEndian)
    np.testing.assert_allclose(read_image(content), ramp() / 4095, atol=1e-6)
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        bare = written(dataset(), syntax, preamble=False)
        assert b"DICM" not in bare
        np.testing.assert_allclose(read_image(bare), ramp() / 4095, atol=1e-6)
        assert image_size(bare) == (64, 80)


def test_rle_jpeg_2000_and_jpeg_ls_are_lossless():
    for syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        np.testing.assert_allclose(read_image(written(compressed(syntax), syntax)), ramp() / 4095, atol=1e-6)


@pytest.mark.parametrize(("syntax", "kind"), [(JPEG2000Lossless, "JPEG 2000"), (JPEGLSLossless, "JPEG")])
def test_a_stream_of_another_size_is_refused_before_decoding(syntax, kind):
    made = compressed(syntax)
    made.Rows = 100
    with pytest.raises(ImageError, match=f"the {kind} stream is 64x80; expected 100x80"):
        read_image(written(made, syntax))


def test_a_frame_longer_than_its_pixels_is_refused_before_decoding():
    made = dataset()
    header = np.array([1, 64, *[0] * 14], dtype="<u4").tobytes()
    made.PixelData = encapsulate([header + b"\x81\x00" * 100_000])  # runs of 128 pixels: 12.8 MB of a 10 KB film
    made["PixelData"].is_undefined_length = True
    with pytest.raises(ImageError, match="compressed frame of 200064 bytes for 10240 bytes of pixels"):
        read_image(written(made, RLELossless))


def jpeg_film(damage=False):
    levels = np.random.default_rng(0).integers(0, 256, (64, 80), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=95)
    stream = bytearray(buffer.getvalue())
    if damage:
        middle = len(stream) // 2
        stream[middle : middle + 40] = bytes(40)
    made = dataset(levels, bits=8)
    made.PixelData = encapsulate([bytes(stream)])
    made["PixelData"].is_undefined_length = True
    return written(made, JPEGBaseline8Bit), buffer.getvalue()


def test_jpeg_in_dicom_is_the_jpeg():
    content, alone = jpeg_film()
    np.testing.assert_array_equal(read_image(content), read_image(alone))
    with pytest.raises(ImageError, match="the JPEG in it is damaged"):
        read_image(jpeg_film(damage=True)[0])


def test_a_decoder_that_is_not_installed_is_named():
    made = dataset()
    made.PixelData = encapsulate([b"\xff\xd8\xff\xc3 nothing"])
    made["PixelData"].is_undefined_length = True
    with pytest.raises(ImageError, match=r"python-gdcm|damaged|stream is"):
        read_image(written(made, JPEGLosslessSV1))


def test_colour_capture_becomes_luma():
    colour = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    made = dataset(
        colour, bits=8, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, Modality="OT"
    )
    expected = colour @ np.array([19595, 38470, 7471]) / 65536 / 255
    np.testing.assert_allclose(read_image(written(made)), expected, atol=1e-6)


def test_frames():
    both = np.stack([ramp(), ramp()[::-1]])
    made = dataset(both[0], NumberOfFrames=2)
    made.PixelData = both.tobytes()
    content = written(made)
    with pytest.raises(ImageError, match="has 2 frames"):
        read_image(content)
    for frame in (0, 1):
        np.testing.assert_allclose(read_image(content, frame=frame), both[frame] / 4095, atol=1e-6)
    for frame in (-1, 2):
        with pytest.raises(ImageError, match=f"no frame {frame}; expected 0 to 1"):
            read_image(content, frame=frame)


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({"Modality": "CT"}, "modality CT is not radiography; expected CR or DX"),
        ({"BodyPartExamined": "EXTREMITY"}, "the film shows EXTREMITY; expected CHEST"),
        ({"BodyPartExamined": "C-SPINE"}, "the film shows C-SPINE"),
        ({"ViewPosition": "LL"}, "the view is LL"),
        ({"ViewPosition": "lateral"}, "the view is LATERAL"),
        ({"ViewPosition": "LLD"}, "the view is LLD"),
        ({"Rows": 30000, "Columns": 30000}, "900000000 pixels are too many"),
        ({"Rows": 0}, "too small"),
        ({"Rows": None}, "no Rows and Columns"),
        ({"PixelData": None}, "holds no pixel data"),
        ({"PixelData": b"12"}, "damaged"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "32 bits stored in 32"),
        ({"BitsStored": 0}, "0 bits stored"),
        ({"BitsStored": 17}, "17 bits stored in 16"),
        ({"PixelRepresentation": None}, "PixelRepresentation is None"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR is not a film's"),
        ({"PhotometricInterpretation": None}, "missing is not a film's"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_headers_that_are_refused(elements, said):
    with pytest.raises(ImageError, match=said) as caught:
        read_image(written(dataset(**elements)), name="film.dcm")
    assert str(caught.value).startswith("film.dcm: ")


@pytest.mark.parametrize(
    "elements",
    [
        {"Modality": "CR", "ViewPosition": "AP"},
        {"Modality": None, "BodyPartExamined": None, "ViewPosition": None},
        {"BodyPartExamined": "PORT CHEST", "ViewPosition": ""},
        {"BodyPartExamined": "TORAX"},
    ],
)
def test_headers_that_are_accepted(elements):
    assert read_image(written(dataset(**elements))).shape == (64, 80)


def test_lateral_and_limbs_on_demand():
    lateral = written(dataset(ViewPosition="LL"))
    assert read_image(lateral, any_view=True).shape == (64, 80)
    hand = written(dataset(BodyPartExamined="HAND"))
    assert read_dicom(hand, any_part=True).shape == (64, 80)
    code = Dataset()
    code.CodeMeaning = "left lateral"
    with pytest.raises(ImageError, match="the view is LEFT LATERAL"):
        read_image(written(dataset(ViewPosition=None, ViewCodeSequence=[code])))


def test_inflating_too_far_is_refused(monkeypatch):
    monkeypatch.setattr("covidcxr_tf.imaging.dicom_header.MAX_INFLATED", 1 << 20)
    content = written(dataset(), DeflatedExplicitVRLittleEndian)
    assert read_image(content).shape == (64, 80)
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = content[:start] + packer.compress(bytes(40 << 20)) + packer.flush()
    assert len(bomb) < 1 << 20
    with pytest.raises(ImageError, match="inflates to more than"):
        read_image(bomb)


def test_the_same_from_path_bytes_and_stream(tmp_path):
    content = written(dataset())
    path = tmp_path / "film.png"  # the content decides
    path.write_bytes(content)
    for source in (path, content, io.BytesIO(content)):
        np.testing.assert_allclose(read_image(source), ramp() / 4095, atol=1e-6)
    assert image_size(path) == (64, 80)


@pytest.mark.parametrize("kind", ["plain", "lut", "rle", "jpeg2000", "jpeg", "headerless"])
def test_damaged_dicom_is_read_or_refused_and_nothing_else(kind):
    syntax = {"rle": RLELossless, "jpeg2000": JPEG2000Lossless}.get(kind, ExplicitVRLittleEndian)
    elements = {"WindowCenter": 2000, "WindowWidth": 3000}
    made = compressed(syntax, **elements) if syntax.is_encapsulated else dataset(**elements)
    if kind == "lut":
        made.VOILUTSequence = [lut(np.arange(4096), 0, 12)]
    content = jpeg_film()[0] if kind == "jpeg" else written(made, syntax, preamble=kind != "headerless")
    random = np.random.default_rng(len(kind))
    header = content.rfind(b"\xe0\x7f\x10\x00")
    outcomes = set()
    for _ in range(120):
        broken = bytearray(content)
        reach = header if random.random() < 0.7 else len(broken)  # most faults in the header, where they matter
        for at in random.integers(0, reach, int(random.integers(1, 4))):
            broken[at] = random.integers(256)
        if random.random() < 0.2:
            del broken[int(random.integers(1, len(broken))) :]
        try:
            film = read_image(bytes(broken))
        except ImageError:
            outcomes.add("refused")
            continue
        outcomes.add("read")
        assert film.dtype == np.float32
        assert 0 <= film.min() < film.max() <= 1
    assert outcomes == {"read", "refused"}


def test_a_real_chest_film_of_pydicom_data():
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    assert path, "pydicom-data is part of the extra [test]"
    film = read_image(path)
    assert film.shape == (1955, 1841)
    # Bone bright: the mediastinum is brighter than the lungs beside it; upright: so is the belly.
    lungs = (film[700:900, 400:550].mean() + film[700:900, 1250:1400].mean()) / 2
    assert film[700:900, 850:1000].mean() > lungs + 0.1
    assert film[1600:1800, 300:600].mean() > lungs + 0.1
    squeezed = read_image(get_testdata_file("RG1_J2KR.dcm", download=False))
    np.testing.assert_array_equal(squeezed, film)
    with pytest.raises(ImageError, match="the film shows EXTREMITY"):
        read_image(get_testdata_file("RG3_UNCR.dcm", download=False))


def test_burned_in_text_is_warned_of_once(tmp_path, caplog):
    path = tmp_path / "film.dcm"
    path.write_bytes(written(dataset(BurnedInAnnotation="YES")))
    for _ in range(2):
        assert read_image(path).shape == (64, 80)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [str(path)]
    assert "text is burned into the picture" in caplog.text
    caplog.clear()
    read_image(written(dataset(BurnedInAnnotation="NO")))
    assert not caplog.records


def test_the_header_alone_tells_what_is_refused(tmp_path):
    path = tmp_path / "film"
    path.write_bytes(written(dataset(WindowCenter=5)))
    header = read_header(path)
    assert "PixelData" not in header and header.WindowCenter == 5
    assert is_dicom(path) and not is_dicom(b"\x89PNG and more")
    with pytest.raises(ImageError, match="is not DICOM"):
        read_header(b"\x89PNG and more")
    with pytest.raises(ImageError, match="pixels are too many"):
        read_header(path, max_pixels=5000)
    with pytest.raises(ImageError, match="the view is LL"):
        read_header(written(dataset(ViewPosition="LL")))
    assert view_of(read_header(written(dataset(ViewPosition="LL")), any_view=True)) == "LL"


def test_a_dicomdir_is_no_film():
    with pytest.raises(ImageError, match="is a DICOMDIR, a list of films; expected a film; name its folder"):
        read_image(get_testdata_file("DICOMDIR", download=False))
