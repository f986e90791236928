"""The service: ends what was begun, and looks again for what arrives late on this host.

One worker of a host does it. A host that was off sees each erasure at its next start; from
then on it looks again for a day, while spools are shipped and requests under way end.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import time

import msgspec
from llm_gateway_api import GatewayError, StateBackend, alongside

from llm_gateway_admin_privacy.erasing import TOPIC, By, Erasing

log = logging.getLogger("llm_gateway_admin_privacy")
FILE, LOCK_FILE = "erasures.json", "erasures.lock"
LOOK_SECONDS = 60.0
# How long a host looks again for what arrives late, after it first saw an erasure.
LATE_SECONDS = 24 * 3600.0


class Sweeping:
    """Meets `Service`. `seconds` is the time between two looks."""

    def __init__(
        self,
        erasing: Erasing,
        state: StateBackend | None,
        folder: Path,
        seconds: float = LOOK_SECONDS,
    ) -> None:
        self._erasing = erasing
        self._state = state
        self._folder = folder
        self._seconds = seconds
        self._wanted = asyncio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        if self._state is not None:
            self._state.listen(TOPIC, lambda _: self._wanted.set())
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._folder / LOCK_FILE, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            async with alongside(self._always(handle), name="sweep erasures"):
                yield
        finally:
            os.close(handle)

    async def _always(self, handle: int) -> None:
        while True:
            try:
                if _ours(handle):
                    await self.look()
            except (GatewayError, OSError) as error:
                log.warning("erasure.waiting %s", error)
            except Exception:  # a kind's bug must not end the looking for good
                log.exception("erasure.failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._wanted.wait()
            self._wanted.clear()

    async def look(self) -> None:
        """Once over all erasures: those not finished, not seen yet, or seen not long ago."""
        path, now = self._folder / FILE, time()
        seen = _read(path)
        for row in await self._erasing.all():
            tenant = str(row["tenant"])
            first = seen.get(tenant, now)
            if row["finished_at"] is None or now - first < LATE_SECONDS:
                await self._erasing.run(tenant, By())
            if tenant not in seen:
                seen[tenant] = now
                _write(path, seen)


def _ours(handle: int) -> bool:
    """Whether this is the worker of the host that looks; while it lives it stays so."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> dict[str, float]:
    """When each tenant's erasure was first seen here; nothing where that is not known."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    except (OSError, msgspec.MsgspecError):
        return {}


def _write(path: Path, seen: dict[str, float]) -> None:
    beside = path.with_name(f".{path.name}")
    beside.write_bytes(msgspec.json.encode(seen))
    beside.replace(path)
