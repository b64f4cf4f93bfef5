"""`covidcxr data`: the group of manifest commands."""

from __future__ import annotations

import click

from covidcxr_tf.cli.main import LazyGroup

COMMANDS = {
    "demo": ("covidcxr_tf.cli.data_demo", "Write synthetic films with masks and a manifest."),
    "import": ("covidcxr_tf.cli.data_import", "Make a manifest from a public data set's folder."),
    "check": ("covidcxr_tf.cli.data_check", "Find faults: schema, files, duplicates, leakage."),
    "split": ("covidcxr_tf.cli.data_split", "Split by patient, stratified by label."),
}


@click.group(cls=LazyGroup, commands_table=COMMANDS)
def command() -> None:
    """Make, import, check and split manifests."""
