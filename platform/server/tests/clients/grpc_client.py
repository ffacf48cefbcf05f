"""A client of gRPC on PyPI's grpcio, which calls `grpc_server.py` through the load balancer, in clear or by TLS.

    grpc_client.py ADDRESS [--authority NAME] [--ca FILE] CHECK...

Each check is one below: of those whose first word is `call`, `calls` runs them all. It prints a line for each that held, and
ends with the first that does not. Nothing waits for longer than its patience.
"""

import argparse
import faulthandler
import hashlib
import json
import queue
import time
import uuid

import grpc

# How long one call may take, and everything, in seconds.
CALL_S = 30
PATIENCE_S = 55
# What a call has that is to be given up.
SHORT_S = 0.3

MESSAGE_BYTES = 1 << 20


class Echo:
    """The methods of the server."""

    def __init__(self, channel):
        def path(name):
            return f"/test.Echo/{name}"

        self.say = channel.unary_unary(path("Say"))
        self.head = channel.unary_unary(path("Head"))
        self.count = channel.unary_stream(path("Count"))
        self.collect = channel.stream_unary(path("Collect"))
        self.chat = channel.stream_stream(path("Chat"))
        self.fail = channel.unary_unary(path("Fail"))
        self.fail_late = channel.unary_stream(path("FailLate"))
        self.hang = channel.unary_stream(path("Hang"))
        self.given_up = channel.unary_unary(path("GivenUp"))
        self.unknown = channel.unary_unary(path("Unknown"))


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"{str(actual)[:2000]!r}, not {str(expected)[:2000]!r}")


def values(metadata, name):
    return [value for key, value in metadata if key == name]


def error_of(call):
    """How a call ends that must fail."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"it was answered: {answer!r}")


class Questions:
    """What a stream sends: one message after another, as they are put in."""

    def __init__(self):
        self.waiting = queue.Queue()

    def __iter__(self):
        return iter(self.waiting.get, None)

    def put(self, message):
        self.waiting.put(message)

    def end(self):
        self.waiting.put(None)


def call_unary(echo):
    """One message each way: empty, short, all bytes, and longer than any window."""
    for message in [b"", b"hello", bytes(range(256)), b"x" * MESSAGE_BYTES]:
        equal(echo.say(message, timeout=CALL_S), message)


def call_compressed(echo):
    message = b"again and " * 10_000
    equal(echo.say(message, timeout=CALL_S, compression=grpc.Compression.Gzip), message)


def call_metadata(echo):
    """Metadata crosses there and back, and trailers come back: text and bytes, and more than one of a name."""
    sent = [
        ("x-say-one", "1"),
        ("x-say-many", "a"),
        ("x-say-many", "b, c"),
        ("x-say-blob-bin", bytes(range(256))),
        ("x-say-text", "50 % of it"),
    ]
    answer, call = echo.say.with_call(b"hello", timeout=CALL_S, metadata=sent)
    equal(answer, b"hello")
    back = [tuple(pair) for pair in call.initial_metadata()]
    for name, value in sent:
        if name == "x-say-many":
            # Two lines of a name, or one of both: it is the same (RFC 9110, section 5.3).
            equal(", ".join(values(back, name)), "a, b, c")
        else:
            equal(values(back, name), [value])
    trailers = call.trailing_metadata()
    equal(values(trailers, "x-length"), ["5"])
    equal(values(trailers, "x-digest-bin"), [hashlib.sha256(b"hello").digest()])
    equal(call.code(), grpc.StatusCode.OK)


def call_server_streaming(echo):
    """Many messages back, more than the windows of both hops hold."""
    for number, length in [(0, 10), (3, 10), (128, 64 << 10)]:
        came = list(echo.count(f"{number} {length}".encode(), timeout=CALL_S))
        equal([len(message) for message in came], [length] * number)
        equal([int(message.rstrip(b".")) for message in came], list(range(number)))


def call_client_streaming(echo):
    """Many messages there."""
    for messages in [[], [b"one"], [bytes([index]) * (32 << 10) for index in range(128)]]:
        whole = b"".join(messages)
        expected = f"{len(messages)} {len(whole)} {hashlib.sha256(whole).hexdigest()}"
        equal(echo.collect(iter(messages), timeout=CALL_S).decode(), expected)


def call_both_streaming(echo):
    """Each message is answered before the next is sent: nothing in between waits for more."""
    questions = Questions()
    call = echo.chat(iter(questions), timeout=CALL_S)
    for number in range(50):
        text = b"message %d" % number
        questions.put(text)
        equal(next(call), b"%d: %s" % (number, text))
    questions.end()
    equal(list(call), [])
    equal(values(call.trailing_metadata(), "x-heard-all"), ["yes"])
    equal(call.code(), grpc.StatusCode.OK)


def call_many_at_once(echo):
    """More calls than a connection to a target takes at once, on one connection of the client's."""
    calls = [(b"call %d" % number, echo.say.future(b"call %d" % number, timeout=CALL_S)) for number in range(200)]
    for message, call in calls:
        equal(call.result(timeout=CALL_S), message)


def call_error_status(echo):
    """A status other than OK, with its message and its trailers."""
    for name in ["INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"]:
        error = error_of(lambda name=name: echo.fail(name.encode(), timeout=CALL_S))
        equal((error.code().name, error.details()), (name, "50 % \u2013 zu sp\u00e4t"))
        equal(values(error.trailing_metadata(), "x-reason"), ["told to"])
        equal(values(error.trailing_metadata(), "x-reason-bin"), [bytes(range(256))])


def call_error_after_messages(echo):
    """The messages that come before it are not lost."""
    came = []

    def read():
        for message in echo.fail_late(b"ABORTED", timeout=CALL_S):
            came.append(message)

    error = error_of(read)
    equal((error.code(), came), (grpc.StatusCode.ABORTED, [b"one", b"two", b"three"]))


def call_unknown_method(echo):
    """What the target says of it."""
    error = error_of(lambda: echo.unknown(b"", timeout=CALL_S))
    equal((error.code(), error.details()), (grpc.StatusCode.UNIMPLEMENTED, "Method not found!"))


def call_deadline(echo):
    """The target knows the deadline, the client is told when it is over, and the target is told that it gave up."""
    remaining_s = json.loads(echo.head(b"", timeout=CALL_S))["remaining_s"]
    # It is rounded up on its way.
    if remaining_s is None or not 0 < remaining_s <= CALL_S + 1:
        raise AssertionError(f"the target has {remaining_s} s")
    name = uuid.uuid4().bytes
    error = error_of(lambda: list(echo.hang(name, timeout=SHORT_S)))
    equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    equal(echo.given_up(name, timeout=CALL_S), b"yes")


def call_given_up(echo):
    """The same of a call that its client ends before; the head of its answer has come alone."""
    name = uuid.uuid4().bytes
    call = echo.hang(name, timeout=CALL_S)
    equal(values(call.initial_metadata(), "x-hangs"), ["yes"])
    call.cancel()
    equal(echo.given_up(name, timeout=CALL_S), b"yes")


def call_forwarded(echo):
    """What the load balancer says of the client, and what no client may say."""
    sent = [("skiff-caller", "default/shop; task=1")]
    metadata = json.loads(echo.head(b"", timeout=CALL_S, metadata=sent))["metadata"]
    equal(values(metadata, "x-forwarded-for"), ["127.0.0.1"])
    equal(values(metadata, "skiff-caller"), [])
    for name in ["x-forwarded-proto", "x-forwarded-port", "x-request-id", "traceparent"]:
        equal((name, len(values(metadata, name))), (name, 1))


def answered(echo):
    """Waits until the target answers."""
    until(lambda: echo.say(b"hello", timeout=CALL_S) == b"hello")


def unavailable(echo):
    """Waits until the load balancer says itself, in gRPC's words, that no target can be had."""
    until_told(echo, "at present")


def untrusted(echo):
    """The same of a target whose certificate is of nobody whom the load balancer trusts."""
    until_told(echo, "the target's certificate is not trusted")


def until_told(echo, words):
    """Waits until a call is answered by the load balancer itself, which has these words for why no target can be had."""
    told = []

    def is_told():
        error = error_of(lambda: echo.say(b"hello", timeout=CALL_S))
        equal(error.code(), grpc.StatusCode.UNAVAILABLE)
        if error.details() not in told:
            told.append(error.details())
            print(f"UNAVAILABLE: {error.details()}", flush=True)
        # Not the client's own word for a connection that it can't open.
        return bool(values(error.trailing_metadata(), "x-request-id")) and words in error.details()

    until(is_told)


def exhausted(echo):
    """Waits until a call is one too many beside another, and goes through once that has ended."""

    def is_refused():
        try:
            echo.say(b"hello", timeout=CALL_S)
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
            equal(len(values(error.trailing_metadata(), "retry-after")), 1)
            return True
        return False

    def is_refused_beside_another():
        questions = Questions()
        call = echo.chat(iter(questions), timeout=CALL_S)
        try:
            questions.put(b"hello")
            equal(next(call), b"0: hello")
            refused = is_refused()
        finally:
            questions.end()
        equal(list(call), [])
        return refused

    until(is_refused_beside_another)
    until(lambda: echo.say(b"hello", timeout=CALL_S) == b"hello")


def unrouted(echo):
    """Nobody answers for that host: a status of HTTP, which grpcio translates."""
    error = error_of(lambda: echo.say(b"hello", timeout=CALL_S))
    equal(error.code(), grpc.StatusCode.UNIMPLEMENTED)
    if "404" not in error.details():
        raise AssertionError(error.details())


def incompatible(echo):
    """Waits until the call comes to a target group that does not speak gRPC: ELBv2's 464, which grpcio does not know."""

    def is_told():
        error = error_of(lambda: echo.say(b"hello", timeout=CALL_S))
        return error.code() == grpc.StatusCode.UNKNOWN and "464" in error.details()

    until(is_told)


def until(look):
    """Looks again and again, until what is looked for is so; until then calls may fail."""
    end, last = time.monotonic() + CALL_S, None
    while time.monotonic() < end:
        try:
            if look():
                return
        except (AssertionError, grpc.RpcError) as error:
            last = error
        time.sleep(0.02)
    raise AssertionError(f"it was waited for in vain; last: {last!r}")


CALLS = [check for name, check in list(globals().items()) if name.startswith("call_")]
OTHERS = [answered, unavailable, untrusted, exhausted, unrouted, incompatible]


def open_channel(arguments):
    # A proxy that the environment names is for others.
    options = [("grpc.enable_http_proxy", 0)]
    if not arguments.ca:
        if arguments.authority:
            options.append(("grpc.default_authority", arguments.authority))
        return grpc.insecure_channel(arguments.address, options)
    with open(arguments.ca, "rb") as file:
        credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
    if arguments.authority:
        # It is asked for, as the name that the certificate must have and as the host.
        options.append(("grpc.ssl_target_name_override", arguments.authority))
    return grpc.secure_channel(arguments.address, credentials, options)


def main():
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    named = {check.__name__: [check] for check in CALLS + OTHERS} | {"calls": CALLS}
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--authority")
    parser.add_argument("--ca")
    parser.add_argument("checks", nargs="+", choices=named, metavar="CHECK")
    arguments = parser.parse_args()
    with open_channel(arguments) as channel:
        echo = Echo(channel)
        for check in [check for name in arguments.checks for check in named[name]]:
            print(f"{check.__name__} ...", flush=True)
            check(echo)
            print(f"{check.__name__} holds", flush=True)


if __name__ == "__main__":
    main()
