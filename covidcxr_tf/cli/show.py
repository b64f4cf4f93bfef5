"""`covidcxr show`: a resolved config with the source of each value."""

from __future__ import annotations

import click


@click.command()
@click.argument("config")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override, as in train.epochs=3.")
@click.option("--smoke", is_flag=True, help="Show the shrunken run.")
def command(config: str, overrides: tuple[str, ...], smoke: bool) -> None:
    """Print the resolved CONFIG as TOML, each value with where it comes from."""
    from covidcxr_tf.config import dump_toml, find_config, load_config

    resolved = load_config(config, overrides, smoke=smoke)
    click.echo(f"# {find_config(config)}, sha256 {resolved.digest()[:16]}")
    table = ""
    for line in dump_toml(resolved).splitlines():
        if line.startswith("["):
            table = line.strip("[]")
            if table in ("source", "smoke"):
                break
        key = line.partition(" = ")[0]
        where = resolved.source.get(f"{table}.{key}".lstrip(".")) or resolved.source.get(table)
        click.echo(f"{line}  # {where}" if where and " = " in line else line)
