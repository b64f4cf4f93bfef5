"""DenseNet121 in up to three phases: 14 findings, pneumonia, COVID-19.

Source: Fricks 2021, section 2 and figure 1. The phases are tables of the config (``recipes.phases`` runs them); the six
paths a to f are the configs ``densenet121_path_a`` to ``_f``. Each phase replaces the output layer, as every classifier
with other classes than its initial weights does.
"""

from __future__ import annotations

from covidcxr_tf.recipes.classifier import judge, model

__all__ = ["judge", "model"]
