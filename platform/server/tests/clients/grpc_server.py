"""A server of gRPC on PyPI's grpcio, on a free port of this machine: a target for the load balancer.

    grpc_server.py [--certificate FILE --private-key FILE]

It speaks TLS if it is given a certificate with its key, in PEM; else in clear. Without protoc: messages are bytes, and the
handlers are generic ones. It prints "listening on PORT" once it serves, and ends when its standard input does.
`grpc_client.py` says what each method is for.
"""

import argparse
import hashlib
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

# Calls at once; those of Hang and Chat take a thread each for as long as they last.
THREADS = 64
# How long anything is waited for, in seconds.
PATIENCE_S = 60

SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse { status: SERVING }


class Abandoned:
    """The calls of Hang that have ended because their client gave up, by what it called them."""

    def __init__(self):
        self.changed = threading.Condition()
        self.names = set()

    def add(self, name):
        with self.changed:
            self.names.add(name)
            self.changed.notify_all()

    def wait_for(self, name):
        with self.changed:
            return self.changed.wait_for(lambda: name in self.names, PATIENCE_S)


ABANDONED = Abandoned()


def say(request, context):
    """Gives the message back, with the client's metadata, and with its digest behind it."""
    metadata = context.invocation_metadata()
    context.send_initial_metadata([pair for pair in metadata if pair[0].startswith("x-say-")])
    context.set_trailing_metadata([("x-length", str(len(request))), ("x-digest-bin", digest(request))])
    return request


def head(_request, context):
    """What has come of the call's head: its metadata, and the time that it has."""
    metadata = [[name, value] for name, value in context.invocation_metadata() if isinstance(value, str)]
    return json.dumps({"metadata": metadata, "remaining_s": context.time_remaining()}).encode()


def count(request, _context):
    """So many messages of so many bytes, each of which begins with its number."""
    number, length = map(int, request.split())
    for index in range(number):
        yield str(index).encode().ljust(length, b".")


def collect(requests, _context):
    """How many messages and bytes have come, and the digest of them all."""
    number, length, sha = 0, 0, hashlib.sha256()
    for request in requests:
        number, length = number + 1, length + len(request)
        sha.update(request)
    return f"{number} {length} {sha.hexdigest()}".encode()


def chat(requests, context):
    """Answers each message before it reads the next."""
    for number, request in enumerate(requests):
        yield b"%d: %s" % (number, request)
    context.set_trailing_metadata([("x-heard-all", "yes")])


def fail(request, context):
    """Ends with the status that the message names."""
    context.set_trailing_metadata([("x-reason", "told to"), ("x-reason-bin", bytes(range(256)))])
    context.abort(grpc.StatusCode[request.decode()], "50 % \u2013 zu sp\u00e4t")


def fail_late(request, context):
    """Sends three messages before that."""
    yield from (b"one", b"two", b"three")
    fail(request, context)


def hang(request, context):
    """Sends a head, and nothing more until its client gives up."""
    given_up = threading.Event()
    is_under_way = context.add_callback(given_up.set)
    context.send_initial_metadata([("x-hangs", "yes")])
    if not is_under_way or given_up.wait(PATIENCE_S):
        ABANDONED.add(request)
    yield from ()


def given_up(request, context):
    """Waits until the call of Hang with that name has ended so."""
    if not ABANDONED.wait_for(request):
        context.abort(grpc.StatusCode.INTERNAL, "nobody gave it up")
    return b"yes"


def digest(message):
    return hashlib.sha256(message).digest()


def handlers():
    echo = {
        "Say": grpc.unary_unary_rpc_method_handler(say),
        "Head": grpc.unary_unary_rpc_method_handler(head),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Collect": grpc.stream_unary_rpc_method_handler(collect),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
        "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
        "Hang": grpc.unary_stream_rpc_method_handler(hang),
        "GivenUp": grpc.unary_unary_rpc_method_handler(given_up),
    }
    health = {"Check": grpc.unary_unary_rpc_method_handler(lambda _request, _context: SERVING)}
    return (
        grpc.method_handlers_generic_handler("test.Echo", echo),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
    )


def listen(server, arguments):
    """The port where it listens from its start on."""
    if not arguments.certificate:
        return server.add_insecure_port("127.0.0.1:0")
    with open(arguments.private_key, "rb") as key, open(arguments.certificate, "rb") as certificate:
        credentials = grpc.ssl_server_credentials([(key.read(), certificate.read())])
    return server.add_secure_port("127.0.0.1:0", credentials)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--private-key")
    arguments = parser.parse_args()
    server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(handlers())
    port = listen(server, arguments)
    server.start()
    print(f"listening on {port}", flush=True)
    sys.stdin.read()
    server.stop(grace=None).wait(PATIENCE_S)


if __name__ == "__main__":
    main()
