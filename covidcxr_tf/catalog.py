"""Every name a user can type, and where it lives. Pure data: importing this imports nothing else.

One line here and one file there add an architecture, a source, an explainer or a recipe.
"""

from __future__ import annotations

import difflib
import importlib
from typing import Any, NamedTuple

from covidcxr_tf.errors import UsageError


class Entry(NamedTuple):
    """Where a name lives (``module:function``) and one line for people."""

    target: str
    summary: str


ARCHS: dict[str, Entry] = {
    "base": Entry("covidcxr_tf.models.base:build", "five convolutions, three dense layers (Haghanifar 2020, 4.1)"),
    "chexnet": Entry(
        "covidcxr_tf.models.chexnet:build", "COVID-CXNet: DenseNet121 and a small head (Haghanifar 2020, 4.3)"
    ),
    "resnet101": Entry("covidcxr_tf.models.resnet101:build", "ResNet-101 for 1500 x 1500 px (Kusakunniran 2021)"),
    "densenet121": Entry("covidcxr_tf.models.densenet121:build", "DenseNet121 in phases (Fricks 2021)"),
    "vgg16": Entry("covidcxr_tf.models.vgg16:build", "VGG16 with dense layers of 4096 (five-fold portable CXR study)"),
    "resnet18": Entry("covidcxr_tf.models.resnet18:build", "ResNet-18 on whole films (Oh 2020, global approach)"),
    "patch-resnet18": Entry("covidcxr_tf.models.patch_resnet18:build", "ResNet-18 on patches that vote (Oh 2020)"),
    "efficientnet-lite0": Entry(
        "covidcxr_tf.models.efficientnet_lite0:build", "EfficientNet-Lite0, small, with ImageNet weights (Liu 2020)"
    ),
    "fcdensenet103": Entry("covidcxr_tf.models.fcdensenet103:build", "FC-DenseNet103 for lungs and heart (Oh 2020)"),
    "fcdensenet67": Entry("covidcxr_tf.models.fcdensenet67:build", "FC-DenseNet67 for lungs and heart (Oh 2020)"),
    "unet": Entry("covidcxr_tf.models.unet:build", "U-Net for lungs (Ronneberger 2015; Haghanifar 2020, 3.2)"),
    "unet-lite0": Entry("covidcxr_tf.models.unet_lite0:build", "U-Net on EfficientNet-Lite0, for lungs"),
}

RECIPES: dict[str, Entry] = {
    "covid_cxnet": Entry("covidcxr_tf.recipes.covid_cxnet", "COVID-CXNet and its base model, flat and hierarchical"),
    "resnet101_1500": Entry("covidcxr_tf.recipes.resnet101_1500", "ResNet-101 at 1500 x 1500 px"),
    "densenet121_phased": Entry("covidcxr_tf.recipes.densenet121_phased", "DenseNet121 in three phases, six paths"),
    "vgg16_pcxr": Entry("covidcxr_tf.recipes.vgg16_pcxr", "VGG16, five folds by patient"),
    "patch_resnet18": Entry(
        "covidcxr_tf.recipes.patch_resnet18", "ResNet-18 on patches in the lungs, and on whole films"
    ),
    "lung_segmentation": Entry("covidcxr_tf.recipes.lung_segmentation", "U-Net and FC-DenseNet for lungs and heart"),
}

ENHANCERS: dict[str, Entry] = {
    "clahe": Entry("covidcxr_tf.imaging.clahe:clahe", "contrast-limited adaptive histogram equalisation"),
    "beasf": Entry("covidcxr_tf.imaging.beasf:beasf", "bi-histogram equalisation with adaptive sigmoid functions"),
    "equalize": Entry("covidcxr_tf.imaging.equalise:equalize", "global histogram equalisation"),
    "universal": Entry("covidcxr_tf.imaging.universal:universal", "equalisation and a gamma curve (Oh 2020)"),
    "three-channel": Entry("covidcxr_tf.imaging.stack:three_channel", "BEASF, CLAHE and the film, stacked"),
}

EXPLAINERS: dict[str, Entry] = {
    "gradcam": Entry("covidcxr_tf.explain.gradcam:gradcam", "Grad-CAM (Selvaraju 2017)"),
    "gradcam++": Entry("covidcxr_tf.explain.gradcam:gradcam_plus_plus", "Grad-CAM++ (Chattopadhay 2018)"),
    "scorecam": Entry("covidcxr_tf.explain.gradcam:scorecam", "Score-CAM (Wang 2020)"),
    "saliency": Entry("covidcxr_tf.explain.gradcam:saliency", "gradient saliency (Simonyan 2014)"),
    "cam": Entry("covidcxr_tf.explain.cam:cam", "class activation map (Zhou 2016)"),
    "activation": Entry(
        "covidcxr_tf.explain.activation_map:activation", "mean activation in the lungs (Kusakunniran 2021)"
    ),
    "patch-gradcam": Entry(
        "covidcxr_tf.explain.patch_gradcam:patch_gradcam", "probabilistic Grad-CAM over patches (Oh 2020)"
    ),
    "lime": Entry("covidcxr_tf.explain.lime:lime", "LIME super-pixels (Ribeiro 2016)"),
}

SOURCES: dict[str, Entry] = {
    name: Entry(f"covidcxr_tf.data.sources.{name.replace('-', '_')}:read", summary)
    for name, summary in {
        "folder": "one sub-folder a label",
        "covid-cxnet": "armiro/COVID-CXNet's chest_xray_images",
        "covid-chestxray": "ieee8023/covid-chestxray-dataset, metadata.csv",
        "nih-cxr14": "NIH ChestX-ray14, Data_Entry_2017*.csv",
        "rsna": "RSNA Pneumonia Detection Challenge, stage 2",
        "kermany": "Kermany 2018, paediatric chest_xray/",
        "montgomery": "NLM Montgomery County, CXR_png and ManualMask",
        "shenzhen": "NLM Shenzhen, CXR_png and mask/",
        "jsrt": "JSRT nodule films with SCR masks",
        "hannover": "COVID-19 Image Repository of Hannover",
        "figure1": "Figure 1 COVID-19 chest X-rays",
        "actualmed": "Actualmed COVID-19 chest X-rays",
        "covidx": "COVIDx train/test text files",
        "radiography": "COVID-19 Radiography Database",
    }.items()
}

#: Papers with printed facts and a reproduction: key -> module with its experiments.
PAPERS: dict[str, Entry] = {
    "covid_cxnet": Entry("covidcxr_tf.recipes.reproductions.covid_cxnet", "Haghanifar 2020: COVID-CXNet"),
    "resnet101_1500": Entry(
        "covidcxr_tf.recipes.reproductions.resnet101_1500", "Kusakunniran 2021: ResNet-101 at 1500 px"
    ),
    "densenet121_phased": Entry(
        "covidcxr_tf.recipes.reproductions.densenet121_phased", "Fricks 2021: DenseNet121 in phases"
    ),
    "vgg16_pcxr": Entry("covidcxr_tf.recipes.reproductions.vgg16_pcxr", "five-fold portable CXR study: VGG16"),
    "patch_resnet18": Entry("covidcxr_tf.recipes.reproductions.patch_resnet18", "Oh, Park, Ye 2020: patch ResNet-18"),
}

#: Checks of `covidcxr audit`, in the order in which a reader wants them: the first says what is left without shortcuts.
AUDITS: dict[str, Entry] = {
    name: Entry(f"covidcxr_tf.audit.{name}:check", summary)
    for name, summary in {
        "within_source": "AUC inside each source, where the hospital cannot help",
        "lungs_hidden": "AUC with the lungs blacked out (Maguolo & Nanni 2021)",
        "border_only": "AUC from the outer tenth of the film",
        "border_trained": "AUC learned from the borders alone: by a simple model, with --retrain by the network anew",
        "hidden_trained": "AUC that the network learns anew with the lungs blacked out (needs --retrain)",
        "label_source": "association of label and source",
        "source_in_features": "source told from the network's features, within a class (Garcia Santa Cruz 2021)",
        "cross_source": "AUC lost from one source to another (DeGrave 2021)",
        "heat_in_lungs": "share of Grad-CAM heat inside the lungs, and the pointing game",
        "metadata_only": "AUC of age, sex, view, size and file type without the pixels",
        "duplicates": "films and patients that stand in two splits",
        "age_and_view": "association of the label with age, sex and view",
        "subgroups": "the worst group by sex, age, view and source against all others, Holm-corrected",
        "calibration": "gap between stated and true probability, by source",
        "corner_text": "answers that change when the corners are covered",
        "out_of_domain": "certain answers to pictures that are no chest film",
        "stability": "answers that change under JPEG, contrast, brightness, shift, blur",
    }.items()
}

KINDS = {
    "archs": ARCHS,
    "recipes": RECIPES,
    "enhancers": ENHANCERS,
    "explainers": EXPLAINERS,
    "sources": SOURCES,
    "papers": PAPERS,
    "audits": AUDITS,
}


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name nearest to `name`, or an empty string."""
    found = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{found[0]}'?" if found else ""


def entry(kind: str, name: str) -> Entry:
    """Return the entry of `name` in the table `kind`.

    Raises
    ------
    UsageError
        If there is no such name; the message carries the known ones.
    """
    table = KINDS[kind]
    if name not in table:
        raise UsageError(
            f"'{name}' is not among the {kind}",
            expected=", ".join(table),
            remedy=nearest(name, list(table)) or None,
        )
    return table[name]


def resolve(kind: str, name: str) -> Any:
    """Import and return the function (or module) behind `name` in the table `kind`."""
    module_name, _, attribute = entry(kind, name).target.partition(":")
    module = importlib.import_module(module_name)
    return getattr(module, attribute) if attribute else module
