"""VGG16 on portable films, four classes, five folds by patient, on whole films and on segmented lungs.

Source: the five-fold portable CXR study, Materials and Methods. Differs from paper: an epoch is chosen on the
validation films of another fold; the paper trains 50 epochs and names no validation films. ``recipes.folds`` runs them.
"""

from __future__ import annotations

from covidcxr_tf.recipes.classifier import judge, model

__all__ = ["judge", "model"]
