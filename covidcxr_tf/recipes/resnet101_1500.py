"""ResNet-101 from scratch on films of 1500 x 1500 px.

Source: Kusakunniran 2021, sections 2 and 3. Differs from paper: one split by patient that stays, where the paper draws
training and validation films anew in each epoch; ``data.redraw_validation = true`` does as the paper says,
and is judged on the split's own validation and test films.
"""

from __future__ import annotations

from covidcxr_tf.recipes.classifier import judge, model

__all__ = ["judge", "model"]
