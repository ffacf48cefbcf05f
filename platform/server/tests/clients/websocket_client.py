"""A client of WebSockets on PyPI's websockets, which talks to `websocket_server.py` through the load balancer.

    websocket_client.py ORIGIN [--to PORT] [--ca FILE] CHECK...

ORIGIN is `ws://NAME[:PORT]` or `wss://NAME[:PORT]`; the connection goes to a port of this machine, whatever the name. Each
check is one below: of those whose name begins with `talk`, `talks` runs them all. It prints a line for each that held, and ends
with the first that does not. Nothing waits for longer than its patience.
"""

import argparse
import asyncio
import json
import ssl
import time
import uuid

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

# How long one check may take, and what is waited for within one, in seconds.
PATIENCE_S = 30
UNTIL_S = 25

MESSAGE_BYTES = 1 << 20
TEXTS = ["hello", "", "zwei Wörter – 二 🚀", "x" * 125, "x" * 126, "x" * 65_535, "x" * 65_536]
BYTES = [b"hello", b"", bytes(range(256)), bytes(range(256)) * 300]


class Server:
    """Where the server is, for who comes from outside."""

    def __init__(self, arguments):
        self.origin = arguments.origin
        self.options = {"proxy": None, "open_timeout": PATIENCE_S, "close_timeout": PATIENCE_S}
        self.options |= {"max_size": 2 * MESSAGE_BYTES}
        if arguments.to:
            self.options |= {"host": "127.0.0.1", "port": arguments.to}
        if arguments.ca:
            self.options["ssl"] = ssl.create_default_context(cafile=arguments.ca)

    def open(self, path, **options):
        return connect(self.origin + path, **(self.options | options))


def equal(actual, expected):
    if actual != expected:
        raise AssertionError(f"{str(actual)[:2000]!r}, not {str(expected)[:2000]!r}")


async def comes_back(socket, message):
    await socket.send(message)
    equal(await socket.recv(), message)


async def talk_of_text(server):
    async with server.open("/echo") as socket:
        for text in TEXTS:
            await comes_back(socket, text)
    equal(socket.close_code, 1000)


async def talk_of_bytes(server):
    async with server.open("/echo") as socket:
        for message in BYTES:
            await comes_back(socket, message)


async def talk_of_fragments(server):
    """Messages in many frames, from either side, with the empty one among them."""
    async with server.open("/echo", compression=None) as socket:
        for parts in [["Hel", "lo"], ["", "a", ""], [chr(97 + index % 26) * 1000 for index in range(100)]]:
            await socket.send(parts)
            equal(await socket.recv(), "".join(parts))
            await socket.send([part.encode() for part in parts])
            equal(await socket.recv(), "".join(parts).encode())
    async with server.open("/fragments", compression=None) as socket:
        for message in ["in four parts", b"in four parts", "x" * MESSAGE_BYTES]:
            await socket.send(message)
            parts = [part async for part in socket.recv_streaming()]
            # The last one is empty: that it is the last was not known before.
            equal((len(parts), type(message)().join(parts)), (5, message))


async def talk_of_much(server):
    """Messages of a mebibyte, with and without compression, one after another and many ahead of their answers."""
    text = "".join(chr(32 + (index * index) % 95) for index in range(1 << 16)) * 16
    data = bytes(range(256)) * (MESSAGE_BYTES // 256)
    for compression in [None, "deflate"]:
        async with server.open("/echo", compression=compression) as socket:
            for message in [text, data, text]:
                await comes_back(socket, message)
            await asyncio.gather(send_all(socket, [data] * 8), receive_all(socket, [data] * 8))


async def send_all(socket, messages):
    for message in messages:
        await socket.send(message)


async def receive_all(socket, messages):
    for message in messages:
        equal(await socket.recv() == message, True)


async def talk_in_pings(server):
    """Pings with their payloads from the client, also between the frames of a message; and from the server."""
    async with server.open("/echo", compression=None) as socket:
        for payload in [b"", b"one", bytes(125)]:
            await (await socket.ping(payload))
        await socket.pong(b"unasked")
        pongs = []

        async def parts():
            for part in ["one ", "two ", "three"]:
                pongs.append(await socket.ping())
                yield part

        await socket.send(parts())
        equal(await socket.recv(), "one two three")
        await asyncio.gather(*pongs)
    async with server.open("/ping") as socket:
        for number in range(5):
            await comes_back(socket, f"message {number}")


async def talk_until_closed(server):
    """The code and the reason with which either side closes cross, and so does that none came."""
    for code in [1000, 1001, 1011, 3000, 4999]:
        async with server.open(f"/close?{code}") as socket:
            error = await ends(socket)
            equal((error.rcvd.code, error.rcvd.reason), (code, "as told"))
            equal(error.rcvd_then_sent, True)
    for code, reason in [(1000, ""), (1001, "leaving"), (4000, "größer " * 10)]:
        name = uuid.uuid4().hex
        async with server.open(f"/closed?{name}") as socket:
            await socket.close(code, reason)
        async with server.open(f"/how?{name}") as socket:
            equal(json.loads(await socket.recv()), [code, reason])


async def talk_until_broken_off(server):
    """A connection that its server ends without a word ends so for the client, and one that the client ends for the server."""
    async with server.open("/break") as socket:
        error = await ends(socket)
        equal((error.rcvd, socket.close_code), (None, 1006))
    name = uuid.uuid4().hex
    async with server.open(f"/closed?{name}") as socket:
        socket.transport.abort()
    async with server.open(f"/how?{name}") as socket:
        equal(json.loads(await socket.recv()), [None, "no close frame came"])


async def ends(socket):
    try:
        message = await socket.recv()
    except ConnectionClosed as error:
        return error
    raise AssertionError(f"it goes on: {message!r}")


async def talk_as_agreed(server):
    """Compression and a subprotocol are offered and agreed on, between the client and the target."""
    async with server.open("/echo") as socket:
        agreed = socket.response.headers.get("sec-websocket-extensions", "")
        equal("permessage-deflate" in agreed, True)
        equal([extension.name for extension in socket.protocol.extensions], ["permessage-deflate"])
        await comes_back(socket, "again and " * 10_000)
    async with server.open("/echo", compression=None) as socket:
        equal(socket.response.headers.get("sec-websocket-extensions"), None)
        await comes_back(socket, "again and " * 10_000)
    async with server.open("/echo", subprotocols=["skiff.one", "skiff.three"]) as socket:
        equal(socket.subprotocol, "skiff.one")
        await comes_back(socket, "hello")


async def talk_of_headers(server):
    """What the target is told of the client."""
    more = {"x-own": "yes", "cookie": "a=1; b=2", "skiff-caller": "default/shop; task=1"}
    async with server.open("/headers", additional_headers=more, origin="https://example.com") as socket:
        came = [(name.lower(), value) for name, value in json.loads(await socket.recv())]
    values = {name: [value for other, value in came if other == name] for name, _ in came}
    equal(values["x-forwarded-for"], ["127.0.0.1"])
    equal(values["x-forwarded-proto"], ["https" if server.origin.startswith("wss:") else "http"])
    equal((values["x-own"], values["cookie"], values["origin"]), (["yes"], ["a=1; b=2"], ["https://example.com"]))
    equal(values.get("skiff-caller"), None)
    equal([value.lower() for value in values["upgrade"] + values["connection"]], ["websocket", "upgrade"])


async def talk_that_is_refused(server):
    """What else the target answers is what the client is told."""
    await has_status(server, 404, "/nothing-of-the-kind")


async def talk_of_many(server):
    """Many connections at once, each with a conversation of its own."""

    async def talk(number):
        async with server.open("/echo") as socket:
            for turn in range(20):
                await comes_back(socket, f"{number} says {turn}")

    await asyncio.gather(*(talk(number) for number in range(40)))


async def answered(server):
    """Waits until the server answers."""

    async def is_answered():
        async with server.open("/echo") as socket:
            await comes_back(socket, "hello")

    await until(is_answered)


async def chats(server):
    """The daemon of `examples/http-daemon`, whose messages are shorter."""
    async with server.open("/chat") as socket:
        for message in TEXTS[:5] + BYTES[:3] + ["x" * 60_000]:
            await comes_back(socket, message)
        await socket.send(["in ", "three ", "parts"])
        equal(await socket.recv(), "in three parts")
        await (await socket.ping(b"are you there?"))


async def answered_501(server):
    """Waits until a client that asks for a WebSocket is told that it can't be had."""
    await until(lambda: has_status(server, 501))


async def answered_502(server):
    """Waits until it is told that there is no target."""
    await until(lambda: has_status(server, 502))


async def has_status(server, status, path="/echo"):
    try:
        async with server.open(path):
            raise AssertionError("it is answered")
    except InvalidStatus as error:
        equal(error.response.status_code, status)


async def until(look):
    """Looks again and again, until what is looked for is so."""
    end, last = time.monotonic() + UNTIL_S, None
    while time.monotonic() < end:
        try:
            return await look()
        except (AssertionError, ConnectionClosed, InvalidStatus, OSError, EOFError) as error:
            last = error
        await asyncio.sleep(0.02)
    raise AssertionError(f"it was waited for in vain; last: {last!r}")


TALKS = [check for name, check in list(globals().items()) if name.startswith("talk_")]
OTHERS = [answered, chats, answered_501, answered_502]


async def main():
    named = {check.__name__: [check] for check in TALKS + OTHERS} | {"talks": TALKS}
    parser = argparse.ArgumentParser()
    parser.add_argument("origin")
    parser.add_argument("--to", type=int)
    parser.add_argument("--ca")
    parser.add_argument("checks", nargs="+", choices=named, metavar="CHECK")
    arguments = parser.parse_args()
    server = Server(arguments)
    for check in [check for name in arguments.checks for check in named[name]]:
        print(f"{check.__name__} ...", flush=True)
        await asyncio.wait_for(check(server), PATIENCE_S)
        print(f"{check.__name__} holds", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
