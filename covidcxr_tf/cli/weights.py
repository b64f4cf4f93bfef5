"""`covidcxr weights`: convert and verify weight files."""

from __future__ import annotations

import json

import click

from covidcxr_tf.errors import CheckFailed

LAYOUTS = ("chexnet-keras", "chexnet-torch", "torchxrayvision")


@click.group()
def command() -> None:
    """Convert and verify weight files."""


@command.command()
@click.argument("source", type=click.Path())
@click.argument("target", metavar="DST.weights.h5", type=click.Path())
@click.option("--layout", type=click.Choice(LAYOUTS), help="Layout of SOURCE; left out, its content decides.")
@click.option("--split", default="unknown", show_default=True, help="What is known of the films it was trained on.")
@click.option("--json", "as_json", is_flag=True, help="Print the provenance as JSON.")
def convert(source: str, target: str, layout: str | None, split: str, as_json: bool) -> None:
    """Write the CheXNet file SOURCE as a Keras 3 weight file that carries its provenance."""
    from covidcxr_tf.models.converted import convert as convert_weights

    known = convert_weights(source, target, layout, split)
    if as_json:
        click.echo(json.dumps({"file": target, **known.as_dict()}, indent=2))
        return
    click.echo(f"{target}: {known.layout}, {len(known.labels)} findings, trained on: {known.split}")
    click.echo(f"use it with: covidcxr train --arch chexnet --init chexnet:{target}")


@command.command()
@click.argument("file", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def verify(file: str, as_json: bool) -> None:
    """Say whether FILE is whole and says where it comes from; exit 4 where it is not."""
    from covidcxr_tf.models.verify import verify as verify_weights

    found = verify_weights(file)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    else:
        click.echo(f"{found.path}: {found.kind}, SHA-256 {found.sha256 or 'none'}")
        for check in found.checks:
            click.echo(f"  {'ok  ' if check.passed else 'FAIL'} {check.name}: {check.why}")
    failed = [check for check in found.checks if not check.passed]
    if failed:
        raise CheckFailed(f"{failed[0].name}: {failed[0].why}", where=file)
