"""Checks of whether a model tells disease or something else: one check a file, each returns a finding."""
