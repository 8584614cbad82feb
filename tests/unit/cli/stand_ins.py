"""Tiny processes that stand in for parts, and the journal in which they tell what happens to them."""

import asyncio
import os

# Arguments: name, journal descriptor, "deaf" to ignore SIGTERM, then a variable to report.
STAND_IN = """
import os, signal, sys
name, journal, manners, variable = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
def tell(word):
    os.write(journal, f"{name} {word}\\n".encode())
def stop(*_):
    tell("stop")
    if manners != "deaf":
        raise SystemExit(0)
signal.signal(signal.SIGTERM, stop)
tell(f"start {os.getpid()} {os.environ.get(variable)}")
while True:
    signal.pause()
"""


class Journal:
    """Collects what the stand-ins write, in order, and lets a test wait for a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._news = asyncio.Condition()
        self._read_end, self.write_end = os.pipe()

    async def read(self) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._read_end, "rb", 0)
        )
        try:
            async for line in reader:
                await self.add(line.decode().strip())
        finally:
            transport.close()

    async def add(self, line: str) -> None:
        async with self._news:
            self.lines.append(line)
            self._news.notify_all()

    async def wait_for(self, start: str, times: int = 1) -> str:
        """Return the `times`-th line that begins with `start`."""

        def found() -> list[str]:
            return [line for line in self.lines if line.startswith(start)]

        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: len(found()) >= times)
        return found()[times - 1]

    def pid(self, name: str) -> int:
        """Process id of the latest life of `name`."""
        return int([line.split() for line in self.lines if line.startswith(f"{name} start")][-1][2])
