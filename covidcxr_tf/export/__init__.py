"""Runs turned into SavedModels that TensorFlow Serving and `covidcxr serve` answer with."""
