"""Masks as a DICOM Segmentation of the film."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from covidcxr_tf.dicom import codes
from covidcxr_tf.dicom.source import NOTICE, Author, equipment, new_uid, orientation, put_in_study, short

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SERIES_NUMBER = 9801
KINDS = {
    "lungs": ("Lungs", codes.LUNG),
    "left lung": ("Left lung", codes.LEFT_LUNG),
    "right lung": ("Right lung", codes.RIGHT_LUNG),
    "heart": ("Heart", codes.HEART),
}


def segmentation_object(header: Dataset, masks: Mapping[str, npt.NDArray[np.uint8]], author: Author) -> Dataset:
    """Return a binary Segmentation with one segment a mask, in the pixels of the film.

    Binary, and not the newer label map, as today's viewers and archives know it.

    Parameters
    ----------
    header : Dataset
        From `source_film`.
    masks : dict
        Name of `KINDS` -> uint8 0/1, (Rows, Columns).
    author : Author
        The network that found them.

    Source
    ------
    DICOM PS3.3 A.51 and C.8.20.
    """
    import highdicom as hd

    algorithm = hd.AlgorithmIdentificationSequence(
        name=short(author.name),
        family=codes.LEARNED,
        version=short(author.version),
        source="covidcxr_tf",
        parameters={"sha256": author.sha256},
    )
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=KINDS[name][0],
            segmented_property_category=codes.STRUCTURE,
            segmented_property_type=KINDS[name][1],
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=new_uid(),
            tracking_id=KINDS[name][0],
        )
        for number, name in enumerate(masks, start=1)
    ]
    planes = np.stack([mask != 0 for mask in masks.values()], axis=-1).astype(np.uint8)[None]
    made = hd.seg.Segmentation(
        source_images=[header],
        pixel_array=planes,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=1,
        content_description=short(NOTICE),
        content_label="LUNGS",
        omit_empty_frames=False,
        **equipment(author),
    )
    made.PatientOrientation = orientation(header)
    made.BodyPartExamined = "CHEST"
    return put_in_study(made, header, "Lungs")
