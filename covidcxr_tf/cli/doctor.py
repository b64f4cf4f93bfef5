"""`covidcxr doctor`: what is here and what is missing."""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(as_json: bool) -> None:
    """Versions, devices, memory, shipped models, what is missing."""
    from covidcxr_tf.doctor import examine

    found = examine()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"covidcxr_tf {found['covidcxr_tf']}, Python {found['python']}, {found['platform']}")
    click.echo(
        "packages: " + ", ".join(f"{name} {version or 'MISSING'}" for name, version in found["packages"].items())
    )
    click.echo(f"devices: {', '.join(found['devices'])}; {found['cores']} cores, {found['memory_gb']} GB memory")
    click.echo(f"cache: {found['cache']} ({found['cache_free_gb']} GB free)")
    for name, model in found["models"].items():
        click.echo(f"model {name}: {model['path']}, sha256 {model['sha256'][:12]}")
    for line in found["missing"]:
        click.echo(f"missing: {line}")
