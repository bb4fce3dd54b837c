"""Targets that a container can't be: a gRPC and a WebSocket server in the test's own process."""

import contextlib
import subprocess
import threading
from concurrent import futures

import grpc
from websockets.sync.server import serve


def address_of(wharf):
    """This host's address on the wharf's bridge, at which the balancer reaches the test."""
    words = subprocess.check_output(
        ["ip", "-4", "-o", "addr", "show", f"wb-{wharf.instance}"], text=True
    ).split()
    return next(w.split("/")[0] for w in words if "/" in w and not w.startswith("169.254"))


class Echo(grpc.GenericRpcHandler):
    """Each message backwards, by itself or in a stream, with the metadata that came along."""

    def service(self, call):
        match call.method:
            case "/echo.Echo/Once":
                return grpc.unary_unary_rpc_method_handler(self.once)
            case "/echo.Echo/Each":
                return grpc.stream_stream_rpc_method_handler(self.each)
        return None  # UNIMPLEMENTED, which ALB's health check expects by default.

    @staticmethod
    def once(message, context):
        metadata = dict(context.invocation_metadata())
        if message == b"fail":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
        context.set_trailing_metadata([("proto", metadata.get("x-forwarded-proto", ""))])
        return message[::-1]

    @staticmethod
    def each(messages, _):
        for message in messages:
            yield message[::-1]


@contextlib.contextmanager
def grpc_server(address):
    """The port of a gRPC server, without TLS."""
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Echo()])
    port = server.add_insecure_port(f"{address}:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def websocket_server(address):
    """The port of a WebSocket server that answers each message by its path and the message."""

    def answer(connection):
        for message in connection:
            connection.send(f"{connection.request.path} {message}")

    def plain(connection, request):
        # What isn't WebSocket is a health check.
        return None if "Upgrade" in request.headers else connection.respond(200, "well\n")

    with serve(answer, address, 0, process_request=plain) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()
