"""A proxy between a client and an HTTP server on loopback that loses chosen requests half-way."""

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

CHUNK = 65536
Fault = Literal["stall", "reset"]


class Proxy:
    """Passes everything on, until it is told which requests are to get lost.

    Attributes:
        struck: set once a request got lost.
        lost: number of requests that got lost.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._which: re.Pattern[bytes] | None = None
        self._spare, self._times, self._fault = 0, 0, "stall"
        self.port, self.lost = 0, 0
        self.struck = threading.Event()

    def lose(self, which: bytes, fault: Fault, *, spare: int = 0, times: int = 1_000_000) -> None:
        """Loses requests whose first line matches, each when all of its first packet but a byte has been passed on.

        Args:
            fault: `stall` leaves the client waiting for ever, `reset` cuts its connection.
            spare: so many matching requests are let through first.
            times: after so many all goes well again.
        """
        self._which, self._fault, self._spare, self._times, self.lost = re.compile(which), fault, spare, times, 0
        self.struck.clear()

    def heal(self) -> None:
        """Loses no more; what is stalled stays so."""
        self._which = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of a client."""
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        down = asyncio.ensure_future(_pass_on(to_reader, writer))
        try:
            while chunk := await reader.read(CHUNK):
                if not self._strikes(chunk):
                    to_writer.write(chunk)
                    await to_writer.drain()
                    continue
                to_writer.write(chunk[:-1])
                await to_writer.drain()
                self.struck.set()
                while self._fault == "stall" and await reader.read(CHUNK):
                    pass
                break
        except OSError:
            pass
        finally:
            down.cancel()
            writer.transport.abort()
            to_writer.transport.abort()

    def _strikes(self, chunk: bytes) -> bool:
        line = chunk.partition(b"\r\n")[0]
        if self._which is None or not line.endswith(b"HTTP/1.1") or not self._which.match(line):
            return False
        if self._spare:
            self._spare -= 1
            return False
        if self.lost >= self._times:
            return False
        self.lost += 1
        return True


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    writer.close()


@contextmanager
def proxy_to(server_port: int) -> Iterator[Proxy]:
    """A running proxy."""
    proxy, started, loop = Proxy(server_port), threading.Event(), asyncio.new_event_loop()

    async def run() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        started.set()
        await server.serve_forever()

    async def stop() -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(run(), loop)
        assert started.wait(10)
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
