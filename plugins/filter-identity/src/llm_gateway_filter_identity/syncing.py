"""Keeps the directory as new as the store: by news of a change, and by looking now and then.

While the store cannot be asked, the directory stays as it was: keys that are known go on
working, and of others nobody can tell.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import time

from llm_gateway_api import GatewayError, Metrics, StateBackend, Store, StoreError

from llm_gateway_filter_identity import snapshot
from llm_gateway_filter_identity.directory import TABLES, Directory

log = logging.getLogger("llm_gateway_filter_identity")
FILE = "identity.json"
TOPIC = "identity"
UNKNOWN = "Whether this key is valid cannot be told now; try again."
# However many strangers knock, the store is asked no more often than this.
GAP_SECONDS = 0.02
# While the store cannot be asked it is tried so often, and nobody waits for that.
RETRY_SECONDS = 1.0
# The longest that a request, or the start, waits for a look.
WAIT_SECONDS = 2.0


class Syncing:
    """Owns the directory of one worker."""

    def __init__(
        self,
        store: Store,
        state: StateBackend | None,
        data_dir: Path,
        metrics: Metrics,
        poll_seconds: float,
        clock: Callable[[], float] = time,
    ) -> None:
        self.directory = Directory()
        self._store = store
        self._path = data_dir / FILE
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._as_of = clock()
        self._failures = 0
        self._errors = metrics.counter(
            "gateway_filter_identity_store_errors_total", "looks into the store that failed"
        ).value()
        self._keys = metrics.gauge(
            "gateway_filter_identity_keys", "keys known, revoked ones too", merge="max"
        ).value()
        age = metrics.gauge(
            "gateway_filter_identity_age_seconds",
            "how long ago keys were last as the store has them",
            merge="max",
        ).value()

        def refresh() -> None:
            age.value = max(0.0, clock() - self._as_of)

        metrics.before_reading(refresh)
        if state is not None:
            state.listen(TOPIC, lambda _: self._wanted.set())

    def known(self) -> Directory:
        """The directory; before the first look, as it was last saved here."""
        if self.directory.version >= 0:
            return self.directory
        saved = snapshot.load(self._path)
        return saved[0] if saved is not None else self.directory

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        known = await asyncio.to_thread(snapshot.load, self._path)
        if known is not None:
            self.directory, saved_at = known
            self._as_of = saved_at / 1000
        task = asyncio.create_task(self._always(), name="sync identity")
        try:
            with suppress(StoreError):
                await self.fresh()
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})
            self._answer(StoreError(UNKNOWN, retry_after=1.0), self._waiting)

    async def fresh(self) -> Directory:
        """The directory as the store has it now or later.

        Raises:
            StoreError: the store cannot be asked.
        """
        if self._failures:
            raise StoreError(UNKNOWN, retry_after=1.0)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._wanted.set()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await waiter
        except TimeoutError as error:
            raise StoreError(UNKNOWN, retry_after=1.0) from error
        return self.directory

    async def _always(self) -> None:
        while True:
            pause = min(self._poll_seconds, RETRY_SECONDS) if self._failures else self._poll_seconds
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            self._wanted.clear()
            await self._attempt()
            await asyncio.sleep(GAP_SECONDS)

    async def _attempt(self) -> None:
        """Look once; who asked before it began is answered."""
        asked, self._waiting = self._waiting, []
        try:
            await self._sync()
        except GatewayError as error:
            self._failures += 1
            self._errors.inc()
            if self._failures == 1:
                log.warning("identity.stale keys stay as they were known: %s", error)
            self._answer(StoreError(UNKNOWN, retry_after=1.0), asked)
        except BaseException as error:
            self._answer(StoreError(UNKNOWN, retry_after=1.0), asked)
            if not isinstance(error, Exception):
                raise
            log.exception("identity.failed")
        else:
            if self._failures:
                log.info("identity.recovered keys are as the store has them")
            self._failures = 0
            self._answer(None, asked)

    def _answer(self, error: StoreError | None, asked: "list[asyncio.Future[None]]") -> None:
        for each in asked:
            if each.done():
                continue
            if error is None:
                each.set_result(None)
            else:
                each.set_exception(error)

    async def _sync(self) -> None:
        began = self._clock()
        rows = await self._store.fetch("SELECT realm, version FROM identity_version WHERE id = 1")
        if not rows:
            raise StoreError("The table identity_version is empty; run: llm-gateway migrate run")
        realm, version = str(rows[0]["realm"]), int(str(rows[0]["version"]))
        known = self.directory
        if (realm, version) != (known.realm, known.version):
            whole = realm != known.realm or version < known.version
            await self._load(Directory() if whole else known, realm, version)
        self._as_of = began

    async def _load(self, target: Directory, realm: str, version: int) -> None:
        """Read what is newer than `target`; it is changed in one step, after all was read."""
        since = {"since": target.version}
        changed = {
            table: await self._store.fetch(f"SELECT * FROM {table} WHERE version > :since", since)
            for table in TABLES
        }
        target.apply(realm, version, changed)
        self.directory = target
        self._keys.value = len(target.rows["api_keys"])
        try:
            await asyncio.to_thread(snapshot.save, self._path, target, int(self._clock() * 1000))
        except OSError as error:
            log.warning("identity.unsaved %s (%s)", self._path, error.strerror)
