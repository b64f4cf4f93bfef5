"""Class and probabilities as a DICOM Structured Report (TID 1500, Measurement Report)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from covidcxr_tf.dicom import codes
from covidcxr_tf.dicom.source import NOTICE, Author, equipment, new_uid, put_in_study, short

if TYPE_CHECKING:
    import highdicom as hd
    from pydicom.dataset import Dataset

    from covidcxr_tf.explain.explanation import Explanation

SERIES_NUMBER = 9803


def report_object(header: Dataset, explanation: Explanation, author: Author, others: Sequence[Dataset] = ()) -> Dataset:
    """Return a Comprehensive SR: the class called, each probability, name, version and hash of the model, a warning.

    It is preliminary and unverified, and its first comment says that it is not for clinical use.

    Parameters
    ----------
    header : Dataset
        From `source_film`; the report's evidence and the source of its measurements.
    explanation : Explanation
    author : Author
        The model.
    others : sequence of Dataset
        Objects that belong to it (segmentation, heat map), listed as further evidence.

    Source
    ------
    DICOM PS3.16 TID 1500, 1501, 4019; PS3.3 A.35.3.
    """
    import highdicom as hd

    content = hd.sr.MeasurementReport(
        observation_context=_observer(author),
        procedure_reported=codes.CHEST_FILM,
        imaging_measurements=[_measurements(header, explanation, author)],
        title=codes.REPORT,
    )
    for text in _comments(explanation, author):
        item = hd.sr.TextContentItem(codes.COMMENT, text, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS)
        content[0].ContentSequence.append(item)
    made = hd.sr.ComprehensiveSR(
        evidence=[header, *others],
        content=content[0],
        series_instance_uid=new_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=new_uid(),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        **equipment(author),
    )
    return put_in_study(made, header, "Model report")


def _observer(author: Author) -> hd.sr.ObservationContext:
    import highdicom as hd
    from pydicom.sr.codedict import codes as standard

    # The same network is the same device in each report.
    device = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'covidcxr_tf {author.name} {author.sha256}').int}"
    attributes = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=device, name=short(author.name), manufacturer_name="covidcxr_tf", model_name=short(author.name)
    )
    context = hd.sr.ObserverContext(standard.DCM.Device, attributes)
    return hd.sr.ObservationContext(observer_device_context=context)


def _measurements(
    header: Dataset, explanation: Explanation, author: Author
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    import highdicom as hd

    values = [
        hd.sr.Measurement(name=codes.probability_code(name), value=round(chance, 6), unit=codes.NO_UNITS)
        for name, chance in explanation.probabilities.items()
    ]
    if explanation.called_from:
        cut = round(float(explanation.called_from["probability"]), 6)
        values.append(hd.sr.Measurement(name=codes.THRESHOLD, value=cut, unit=codes.NO_UNITS))
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(uid=new_uid(), identifier="chest film"),
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=author.name,
            version=author.version,
            parameters=[f"sha256 {author.sha256}", f"explained by {explanation.method}"],
            family=codes.LEARNED,
            manufacturer="covidcxr_tf",
        ),
        finding_sites=[hd.sr.FindingSite(codes.LUNG)],
        measurements=values,
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(codes.CALLED, codes.class_code(name))
            for name in explanation.predicted.split("|")
        ],
        source_images=[hd.sr.SourceImageForMeasurementGroup.from_source_image(header)],
    )


def _comments(explanation: Explanation, author: Author) -> list[str]:
    chances = ", ".join(f"{name} {chance:.3f}" for name, chance in explanation.probabilities.items())
    comments = [
        NOTICE,
        f"Called: {explanation.predicted}. Probabilities: {chances}.",
        f"Model {author.name}, version {author.version}, sha256 {author.sha256}.",
    ]
    if not explanation.lungs_found:
        comments.append("No lungs were found: the model saw the whole film.")
    return [comment.encode("ascii", "replace").decode() for comment in comments]
