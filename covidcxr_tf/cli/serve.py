"""`covidcxr serve`: an exported model over TensorFlow Serving's REST and gRPC interfaces, and a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from covidcxr_tf.errors import UsageError

MEBIBYTE = 1024 * 1024
FILE = click.Path(path_type=Path)


@click.command()
@click.argument("base", type=FILE, metavar="OUT/NAME")
@click.option("--port", type=click.IntRange(0, 65535), default=8501, show_default=True, help="HTTP; 0: a free one.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="0: a free one.")
@click.option("--no-grpc", is_flag=True, help="HTTP only.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--token-file", type=FILE, help="Ask every client for the bearer token in this file.")
@click.option("--tls-cert", type=FILE, help="PEM certificate: HTTPS, with --tls-key.")
@click.option("--tls-key", type=FILE, help="PEM key of the certificate.")
@click.option("--max-request-mb", type=click.FloatRange(0.001), default=64.0, show_default=True, help="Largest body.")
@click.option("--max-images", type=click.IntRange(1), default=64, show_default=True, help="Most films of one request.")
@click.option("--queue", type=click.IntRange(1), default=64, show_default=True, help="Requests that may wait.")
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Requests that run at once.")
@click.option("--timeout", type=click.FloatRange(0.001), default=60.0, show_default=True, help="Seconds a request.")
@click.option("--label", "labels", multiple=True, metavar="NAME=N", help="A label for a version; can be repeated.")
@click.option("--labels-file", type=FILE, help="models.config with version labels; by default OUT/models.config.")
@click.option("--keep", type=click.Choice(["latest", "all"]), default="latest", show_default=True, help="Versions.")
def command(base: Path, **options: Any) -> None:
    """Serve OUT/NAME until SIGTERM: newest version, TensorFlow Serving's REST and gRPC, a page at /.

    A new version folder is picked up while it runs. For research, never for diagnosis.
    """
    if (options["tls_cert"] is None) != (options["tls_key"] is None):
        raise UsageError("TLS needs two files", expected="--tls-cert and --tls-key")
    labels = dict(map(_label, options["labels"]))
    from covidcxr_tf.serving.limits import Limits
    from covidcxr_tf.serving.server import Settings, serve

    body = int(options["max_request_mb"] * MEBIBYTE)
    limits = Limits(
        request_bytes=body,
        images_per_request=options["max_images"],
        in_flight_bytes=max(512 * MEBIBYTE, 2 * body),
        timeout_s=options["timeout"],
    )
    settings = Settings(
        base,
        host=options["host"],
        port=options["port"],
        grpc_port=None if options["no_grpc"] else options["grpc_port"],
        limits=limits,
        threads=options["threads"],
        waiting=options["queue"],
        labels=labels,
        labels_file=options["labels_file"],
        keep=options["keep"],
        token_file=options["token_file"],
        tls_cert=options["tls_cert"],
        tls_key=options["tls_key"],
    )
    serve(settings, _tell, lambda sentence: click.echo(sentence, err=True))
    click.echo("stopped; every request that had come was answered", err=True)


def _tell(addresses: dict[str, Any]) -> None:
    # One line of JSON for programs that start the server and need its ports; the rest is for people.
    click.echo(json.dumps(addresses))
    click.echo(f"page: {addresses['page']}", err=True)
    click.echo(f"REST: {addresses['predict']}", err=True)
    if addresses["grpc"]:
        click.echo(f"gRPC: {addresses['grpc']}", err=True)
    click.echo("for research, not for diagnosis; stop with Ctrl-C", err=True)


def _label(text: str) -> tuple[str, int]:
    name, _, version = text.partition("=")
    if not name or not version.isascii() or not version.isdigit():
        raise UsageError(f"'{text}' is no label", expected="NAME=N, such as stable=1")
    return name, int(version)
