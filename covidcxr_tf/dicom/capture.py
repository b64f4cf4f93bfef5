"""The picture of a heat map as a DICOM Secondary Capture."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from covidcxr_tf.dicom import codes
from covidcxr_tf.dicom.source import NOTICE, Author, equipment, new_uid, orientation, put_in_study, short

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from covidcxr_tf.explain.explanation import Explanation, Film

SERIES_NUMBER = 9802
DPI = 150


def heat_map_object(header: Dataset, explanation: Explanation, film: Film, author: Author) -> Dataset:
    """Return a colour Secondary Capture, 900 x 1800: the bare film, and the film with the heat.

    The picture names the class, the probability and the model, and never the patient.

    Parameters
    ----------
    header : Dataset
        From `source_film`.
    explanation, film
        As for `covidcxr_tf.explain.overlay.picture`.
    author : Author
        The model.

    Source
    ------
    DICOM PS3.3 A.8.1.
    """
    import highdicom as hd

    made: Any = hd.sc.SCImage.from_ref_dataset(
        header,
        pixel_array=_picture(explanation, film),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=1,
        patient_orientation=("L", "F"),  # a form to be filled below
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **equipment(author),
    )
    made.PatientOrientation = orientation(header)
    made.BodyPartExamined = "CHEST"
    made.SourceImageSequence = [_reference(header)]
    made.DerivationDescription = NOTICE
    made.ImageComments = f"{short(explanation.method)} of {short(author.name)}, sha256 {author.sha256}. {NOTICE}"
    made.BurnedInAnnotation = "NO"  # of what names a patient: PS3.3 C.7.6.1
    return put_in_study(made, header, f"Heat map ({explanation.method})")


def _picture(explanation: Explanation, film: Film) -> npt.NDArray[np.uint8]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    from covidcxr_tf.explain.overlay import draw

    figure = draw(explanation, film, "Heat map. NOT FOR CLINICAL USE")
    figure.set_dpi(DPI)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A class may hold signs that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        FigureCanvasAgg(figure).print_png(buffer)
    with Image.open(buffer) as picture:
        return np.asarray(picture.convert("RGB"))


def _reference(header: Dataset) -> Dataset:
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.FOR_PROCESSING)]
    return item
