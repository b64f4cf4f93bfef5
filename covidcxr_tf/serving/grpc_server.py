"""TensorFlow Serving's gRPC port: PredictionService and ModelService over one worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from covidcxr_tf.errors import UsageError
from covidcxr_tf.serving.grpc_call import TokenInterceptor
from covidcxr_tf.serving.grpc_model import ModelService
from covidcxr_tf.serving.grpc_prediction import PredictionService
from covidcxr_tf.serving.limits import Limits
from covidcxr_tf.serving.versions import Versions
from covidcxr_tf.serving.work import Worker

SPARE_CALLS = 8  # beside those that the worker lets wait: status questions are answered under load, too


def start_grpc(
    worker: Worker, versions: Versions, host: str, port: int, limits: Limits, token: str | None = None
) -> tuple[grpc.Server, int]:
    """Listen, and return at once.

    Parameters
    ----------
    worker : Worker
        Runs the requests; its queue is shared with HTTP.
    versions : Versions
        The model.
    host, port : str, int
        Where to listen; port 0 takes a free one. There is no TLS: put a proxy in front of other than loopback.
    limits : Limits
        ``request_bytes`` bounds a message (RESOURCE_EXHAUSTED).
    token : str, optional
        Every call must bring it as metadata ``authorization: Bearer TOKEN`` (UNAUTHENTICATED).

    Returns
    -------
    grpc.Server
        ``stop(grace)`` ends it: no new calls, those that run have `grace` seconds.
    int
        The port.

    Raises
    ------
    UsageError
        If nothing can listen there.
    """
    calls = worker.waiting + SPARE_CALLS
    server = grpc.server(
        ThreadPoolExecutor(calls, thread_name_prefix="grpc"),
        interceptors=[TokenInterceptor(token)] if token else [],
        # As many as there are threads: a call beyond them is refused (RESOURCE_EXHAUSTED) and never waits unseen.
        maximum_concurrent_rpcs=calls,
        options=[
            ("grpc.max_receive_message_length", limits.request_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # else a second server on the port would share it in silence
        ],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(worker, versions, limits), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(versions), server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError as fault:
        raise UsageError(f"cannot listen at {address}", remedy="choose another --grpc-port") from fault
    if not bound:
        raise UsageError(f"cannot listen at {address}", remedy="choose another --grpc-port")
    server.start()
    return server, bound
