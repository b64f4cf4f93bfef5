"""Oh, Park and Ye 2020: segmentation, biomarkers, patches that vote, heat maps, and their ablations.

The cells of the paper's tables are not in our copy of its text: most experiments therefore answer few printed numbers
and measure the rest of their table as further rows.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from covidcxr_tf.data.synthetic import write_demo
from covidcxr_tf.recipes.reproductions import patch_resnet18_ablations as ablations
from covidcxr_tf.recipes.reproductions import patch_resnet18_classification as classification
from covidcxr_tf.recipes.reproductions import patch_resnet18_markers as markers
from covidcxr_tf.recipes.reproductions import patch_resnet18_segmentation as segmentation
from covidcxr_tf.recipes.reproductions.experiment import Experiment
from covidcxr_tf.recipes.reproductions.patch_resnet18_films import COVID_NET, PATCHES, lacking
from covidcxr_tf.recipes.reproductions.patch_resnet18_networks import missing_masks

SMOKE_LABELS = ("normal", "bacterial", "tuberculosis", "viral", "covid19", "pneumonia")
CAVEATS = (
    "Tuberculosis, and most films of the other classes, come from one source each: what tells the classes apart may be "
    "the source. Read the rows 'within' a source first. Films are chosen so that as many classes as can be share one.",
    "Children's films are left out of markers and classifiers, as in the paper, where source or age tells them.",
    "The paper starts from ImageNet; Keras has no such weights for ResNet-18. Without PyTorch's file (`--set "
    "'*resnet18*:model.init=resnet18-f37072fd.pth'`) weights are random, for which the paper's learning rate of 1e-5 "
    "is slow.",
    "Lungs for markers and classifiers are found by the config's image.lung_model, the shipped U-Net. It was trained "
    "on ill lungs too and may have seen patients of the test films. The paper's network is the run "
    "segment_fcdensenet103: repeat with `--set image.lung_model=` its folder.",
    "The paper draws its split at random and does not say that it kept patients together; here it is by patient.",
    "Where drawings count the lung behind the heart as lung, the segmentation learns lungs alone, and a network of its "
    "own finds hearts for the cardiothoracic ratio.",
    "P-values are not corrected, as in the paper; the notes give Holm's. Intervals are over patients unless a note "
    "says films.",
)


def smoke_films(folder: Path, seed: int) -> Path:
    """Return the manifest of the synthetic films: six labels, of six patients each, with masks of lungs and hearts."""
    return write_demo(folder, 6 * len(SMOKE_LABELS), seed, 96, SMOKE_LABELS)


_four, _three = partial(lacking, config=PATCHES), partial(lacking, config=COVID_NET)

EXPERIMENTS = (
    Experiment(
        "segmentation",
        "lungs of another database, with and without preprocessing (section IV-A, Table V)",
        ("section4a.jaccard_original", "section4a.jaccard_preprocessed", "section4a.jaccard_p"),
        segmentation.segmentation,
        missing_masks,
    ),
    Experiment(
        "segmentation_networks",
        "FC-DenseNet103 against U-Net and FC-DenseNet67 (section V-F.1, Table XIII)",
        (),
        segmentation.networks,
        missing_masks,
    ),
    Experiment(
        "segmentation_train_size",
        "segmentation with fewer training films (section V-F.2, Table XV)",
        ("section5f2.stable_share",),
        segmentation.train_size,
        missing_masks,
    ),
    Experiment(
        "under_segmentation",
        "masks that leave out over a quarter of the lungs (section V-F.3)",
        tuple(
            f"section5f3.{group}.{name}"
            for group in segmentation.GROUPS
            for name in ("under_segmented", "under_segmented_share")
            if (group, name) != ("normal", "under_segmented_share")
        ),
        segmentation.under_segmentation,
        missing_masks,
    ),
    Experiment(
        "biomarkers",
        "grey levels of the lungs and cardiothoracic ratio (sections IV-C.1 to 3, Tables VI to IX)",
        tuple(markers.CONTRASTS),
        markers.biomarkers,
        _four,
    ),
    Experiment(
        "patches_against_whole",
        "patches that vote against whole films (section IV-D, Tables X and XI)",
        ("section4d.sensitivity_covid19_viral",),
        classification.patches_against_whole,
        _four,
    ),
    Experiment(
        "patch_intensity",
        "grey levels of rightly classified patches (section IV-C.3, Figure 5)",
        tuple(markers.PATCH_CONTRASTS),
        classification.rightly_classified_patches,
        _four,
    ),
    Experiment(
        "covid_net",
        "patches for the classes of COVID-Net (section V-D, Table XII)",
        ("section5d.accuracy",),
        classification.covid_net,
        _three,
    ),
    Experiment(
        "mask_only",
        "normal against abnormal by the lung mask alone (section V-F.3)",
        ("section5f3.mask_only_sensitivity",),
        ablations.mask_only,
        _four,
    ),
    Experiment(
        "without_mask",
        "patches of films that are not masked (section V-F.3, Table XVI)",
        (),
        ablations.without_mask,
        _four,
    ),
    Experiment("patch_size", "patches of other sizes (section V-G.1, Table XVII)", (), ablations.patch_sizes, _four),
    Experiment("train_size", "classifiers on fewer films (section V-G.2, Figure 12)", (), ablations.train_sizes, _four),
    Experiment(
        "heat_maps",
        "probabilistic Grad-CAM on films of each class (section IV-E, Figures 7 and 8)",
        (),
        ablations.heat_maps,
        _four,
    ),
    Experiment(
        "parameters",
        "sizes of the networks (sections V-D and V-F.1)",
        (
            "section5d.parameters",
            "section5d.parameter_share",
            "section5f1.fcdensenet103_parameters",
            "section5f1.fcdensenet67_parameters",
        ),
        classification.parameters,
    ),
)
