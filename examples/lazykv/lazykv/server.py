"""A key-value store that is fast and wrong: the system that the tutorial tests.

A write is acknowledged as soon as the node it was sent to has it; the others hear of it a moment
later, and of two writes the one with the later clock wins. Every node answers reads from what
it has. Standard library only, for it runs on bare hosts: ``server.py PORT PEER...``

One JSON object a line: ``{"op": "read", "key": k}``, ``{"op": "write", "key": k, "value": v}``,
``{"op": "cas", "key": k, "expected": e, "value": v}``; the answer is ``{"ok": bool, "value": v}``.
"""
from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

values: dict[str, tuple[int, str]] = {}   # key -> when it was written, value


def apply(request: dict[str, Any]) -> dict[str, Any]:
    """Do one operation on what this node has; note when a write was made."""
    op, key = request["op"], request["key"]
    stamp, value = values.get(key, (0, None))
    if op == "copy":
        if request["stamp"] > stamp:
            values[key] = request["stamp"], request["value"]
    elif op == "write" or (op == "cas" and request["expected"] == value):
        request["stamp"] = time.time_ns()
        value = request["value"]
        values[key] = request["stamp"], value
    return {"ok": op != "cas" or "stamp" in request, "value": value}


async def copy_to(host: str, port: int, queue: asyncio.Queue[dict[str, Any]]) -> None:
    """Tell one other node of every write, for ever; what it can't be told is forgotten."""
    while True:
        try:
            _, writer = await asyncio.open_connection(host, port)
            while True:
                writer.write(json.dumps(await queue.get()).encode() + b"\n")
                await writer.drain()
        except OSError:
            await asyncio.sleep(0.2)


async def main(port: int, peers: list[str]) -> None:
    """Serve until killed."""
    queues = [asyncio.Queue[dict[str, Any]](10_000) for _ in peers]
    copying = [asyncio.create_task(copy_to(peer, port, queue))
               for peer, queue in zip(peers, queues, strict=True)]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = json.loads(line)
            answer = apply(request)
            if request["op"] == "copy":
                continue
            writer.write(json.dumps(answer).encode() + b"\n")
            if "stamp" in request:
                for queue in queues:
                    if not queue.full():
                        queue.put_nowait({**request, "op": "copy"})
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, port=port) as server:
        await asyncio.gather(server.serve_forever(), *copying)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
