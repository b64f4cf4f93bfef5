"""`covidcxr listen`: a DICOM node that answers films with segmentation, heat map and report."""

from __future__ import annotations

import ipaddress
import logging
import signal
import threading
from pathlib import Path

import click

from covidcxr_tf.catalog import EXPLAINERS


@click.command()
@click.option("--port", default=11112, show_default=True, type=click.IntRange(0, 65535), help="0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--aet", default="COVIDCXR", show_default=True, help="Our AE title.")
@click.option("--send-to", required=True, metavar="HOST:PORT", help="Node that the results go to.")
@click.option("--send-aet", default="ORTHANC", show_default=True, help="Its AE title.")
@click.option("--only-from", multiple=True, metavar="AET", help="Take films from this AE title alone; repeatable.")
@click.option(
    "--model", metavar="M", help="Run folder, .keras file or shipped model's name; the shipped one by default."
)
@click.option("--method", type=click.Choice(list(EXPLAINERS)), default="gradcam", show_default=True)
@click.option("--queue", default=16, show_default=True, type=click.IntRange(1), help="Films that may wait.")
@click.option(
    "--quarantine",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep films that came to nothing here, for your eyes only. They name the patient.",
)
def command(
    port: int,
    host: str,
    aet: str,
    send_to: str,
    send_aet: str,
    only_from: tuple[str, ...],
    model: str | None,
    method: str,
    queue: int,
    quarantine: Path | None,
) -> None:
    """Receive films by C-STORE and send a segmentation, a heat map and a report of each to another node.

    CR, DX and secondary captures are taken. The results lie in the film's study and say that they are not for clinical
    use. Films and results are held in memory alone. SIGTERM and Ctrl-C answer the films that wait, then end. DICOM has
    no password: leave the host as it is, or let a firewall say who may call.
    """
    from covidcxr_tf.dicom.node import open_node
    from covidcxr_tf.dicom.out import Explainer
    from covidcxr_tf.dicom.sending import Peer, check_title
    from covidcxr_tf.explain.film import check_method
    from covidcxr_tf.predict import describe, load_model_for_films

    _silence()
    peer = Peer.parse(send_to, send_aet)
    title = check_title(aet)
    callers = [check_title(name) for name in only_from]
    check_method(method)
    loaded = load_model_for_films(model)
    node = open_node(
        Explainer(loaded),
        peer,
        title,
        log=_log,
        waiting=queue,
        only_from=callers,
        method=method,
        quarantine=quarantine,
    )
    stop = _stop_signal()
    bound = node.start(host, port)
    if not _is_loopback(host):
        _log(f"{host} can be reached by others, and DICOM asks for no password")
    click.echo(f"model: {describe(loaded)}")
    click.echo(f"for research, not for diagnosis; {title} listens at {host}:{bound}, results go to {peer.aet}")
    while not stop.wait(1.0):
        pass
    left = node.stop()
    counted = ", ".join(f"{number} {kind}" for kind, number in sorted(node.counts.items())) or "no film came"
    click.echo(f"stopped: {counted}" + (f", {left} given up" if left else ""))


def _silence() -> None:
    """Keep the libraries' own lines away: they may quote what a peer sent."""
    for name in ("pynetdicom", "pydicom", "highdicom"):
        logging.getLogger(name).propagate = False


def _stop_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log(line: str) -> None:
    click.echo(line, err=True)
