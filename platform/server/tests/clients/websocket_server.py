"""A server of WebSockets on PyPI's websockets, in clear on a free port of this machine: a target for the load balancer.

It prints "listening on PORT" once it serves, and ends when its standard input does. By path:

    /echo            gives each message back as it came; it takes the subprotocols below, and compression
    /headers         sends the request's headers as a message of JSON
    /fragments       gives each message back in four fragments
    /ping            asks the client by a ping before it gives each message back
    /close?CODE      closes with that code, and "as told"
    /closed?NAME     waits for the client to close, and keeps how it did under that name
    /how?NAME        says how: a message of JSON with the code and the reason
    /break           ends the connection without a word

Elsewhere it answers with 404, as any server does.
"""

import asyncio
import json
import sys
from http import HTTPStatus
from urllib.parse import urlsplit

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

SUBPROTOCOLS = ["skiff.two", "skiff.one"]
# The longest message, twice what clients send.
MESSAGE_BYTES_MAX = 2 << 20
# How long anything is waited for, in seconds.
PATIENCE_S = 30

HOW = {}


async def echo(socket, _query):
    async for message in socket:
        await socket.send(message)


async def headers(socket, _query):
    await socket.send(json.dumps(list(socket.request.headers.raw_items())))


async def fragments(socket, _query):
    async for message in socket:
        step = max(1, len(message) // 4)
        parts = [message[start : start + step] for start in (0, step, 2 * step)] + [message[3 * step :]]
        await socket.send(parts)


async def ping(socket, _query):
    async for message in socket:
        pong = await socket.ping(b"are you there?")
        await asyncio.wait_for(pong, PATIENCE_S)
        await socket.send(message)


async def close(socket, query):
    await socket.close(int(query), "as told")


async def closed(socket, name):
    ended = HOW.setdefault(name, asyncio.get_running_loop().create_future())
    try:
        await socket.recv()
        ended.set_result([None, "it sent a message"])
    except ConnectionClosed as error:
        frame = error.rcvd
        ended.set_result([frame.code, frame.reason] if frame else [None, "no close frame came"])


async def how(socket, name):
    ended = HOW.setdefault(name, asyncio.get_running_loop().create_future())
    await socket.send(json.dumps(await asyncio.wait_for(ended, PATIENCE_S)))


async def break_off(socket, _query):
    socket.transport.abort()


WAYS = {
    "/echo": echo,
    "/headers": headers,
    "/fragments": fragments,
    "/ping": ping,
    "/close": close,
    "/closed": closed,
    "/how": how,
    "/break": break_off,
}


def refuse_unknown(socket, request):
    if urlsplit(request.path).path not in WAYS:
        return socket.respond(HTTPStatus.NOT_FOUND, "there is nothing of the kind\n")
    return None


def choose(_socket, offered):
    """The first that both speak; none is no fault."""
    return next((name for name in SUBPROTOCOLS if name in offered), None)


async def handle(socket):
    asked = urlsplit(socket.request.path)
    await WAYS[asked.path](socket, asked.query)


async def main():
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.run_in_executor(None, lambda: (sys.stdin.read(), loop.call_soon_threadsafe(ended.set)))
    options = {"process_request": refuse_unknown, "select_subprotocol": choose}
    options |= {"max_size": MESSAGE_BYTES_MAX, "close_timeout": PATIENCE_S}
    async with serve(handle, "127.0.0.1", 0, **options) as server:
        print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
        await ended.wait()
        server.close(close_connections=True)


if __name__ == "__main__":
    asyncio.run(main())
