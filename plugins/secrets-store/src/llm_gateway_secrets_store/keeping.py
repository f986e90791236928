"""Setting, listing, deleting, and the rotation that goes on beside the requests."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from time import time

import msgspec
from llm_gateway_api import GatewayError, Metrics, NotFoundError, Store, alongside

from llm_gateway_secrets_store import repository
from llm_gateway_secrets_store.envelope import Keyring, SealedSecret, UnreadableSecretError

log = logging.getLogger("llm_gateway_secrets_store")
DAY_MS = 24 * 3600 * 1000
WARN_DAYS = 7
CHECK_SECONDS = 60.0
WARN_SECONDS = 24 * 3600.0


class ListedSecret(msgspec.Struct, frozen=True):
    """All that is ever shown of a secret; times are Unix milliseconds."""

    name: str
    version: int
    key_id: str
    set_at: int
    encrypted_at: int
    rotates_at: int
    current_key: bool
    previous: int | None


class Rotation(msgspec.Struct, frozen=True):
    """`left` still wait for the newest master key, `unreadable` among them open with none."""

    rotated: int
    left: int
    unreadable: tuple[str, ...]


class SecretKeeper:
    def __init__(self, keys: Keyring, store: Store, days: int, metrics: Metrics) -> None:
        self._keys = keys
        self._store = store
        self._days = days
        self._warned: dict[str, float] = {}
        self._rotated = metrics.counter(
            "gateway_secrets_store_rotated_total", "secrets that were encrypted anew"
        ).value()
        self._left = metrics.gauge(
            "gateway_secrets_store_old_key", "secrets that wait for the newest master key"
        ).value()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with alongside(self._always(), name="rotate secrets"):
            yield

    async def set(self, name: str, value: str, record: Callable[[int], None]) -> int:
        """The new version; `record` is told of it before it is there for others."""
        async with self._store.transaction() as queries:
            version = await repository.newest_version(queries, name) + 1
            now = _now()
            await repository.add(queries, self._keys.seal(name, version, value, now, now))
            record(version)
        return version

    async def delete(self, name: str, record: Callable[[int], None]) -> None:
        """All versions. Raises `NotFoundError`."""
        async with self._store.transaction() as queries:
            removed = await repository.remove(queries, name)
            if not removed:
                raise NotFoundError(f"There is no secret {name}.")
            record(removed)

    async def listed(self) -> list[ListedSecret]:
        found: dict[str, list[SealedSecret]] = {}
        for each in await repository.everything(self._store):
            found.setdefault(each.name, []).append(each)
        return [self._listed(versions) for versions in found.values()]

    def _listed(self, versions: Sequence[SealedSecret]) -> ListedSecret:
        newest = versions[0]
        return ListedSecret(
            newest.name,
            newest.version,
            newest.key_id,
            newest.set_at,
            newest.sealed_at,
            newest.sealed_at + self._days * DAY_MS,
            newest.key_id == self._keys.newest,
            versions[1].version if len(versions) > 1 else None,
        )

    async def rotate(self, name: str | None = None) -> Rotation:
        """Encrypt `name`, or all, anew: a new data key, under the newest master key.

        Raises `NotFoundError` for a name that is not there."""
        rows = await repository.everything(self._store)
        wanted = [each for each in rows if name in (None, each.name)]
        if name is not None and not wanted:
            raise NotFoundError(f"There is no secret {name}.")
        return await self._reseal(rows, wanted)

    async def due(self) -> Rotation:
        """Encrypt anew what is under an older master key or was so for `days`."""
        rows = await repository.everything(self._store)
        oldest = _now() - self._days * DAY_MS
        due = [r for r in rows if r.key_id != self._keys.newest or r.sealed_at <= oldest]
        self._warn([each for each in rows if each not in due], oldest + WARN_DAYS * DAY_MS)
        return await self._reseal(rows, due)

    async def _reseal(
        self, rows: Sequence[SealedSecret], wanted: Sequence[SealedSecret]
    ) -> Rotation:
        unreadable: list[str] = []
        left = {(r.name, r.version) for r in rows if r.key_id != self._keys.newest}
        rotated = 0
        for each in wanted:
            try:
                fresh = self._keys.reseal(each, _now())
            except UnreadableSecretError as error:
                unreadable.append(f"{each.name}@{each.version}")
                self._once(f"{each.name}@{each.version}", "secrets.unreadable %s", error.message)
                continue
            if await repository.replace(self._store, each, fresh):
                rotated += 1
                self._rotated.inc()
            left.discard((each.name, each.version))  # if not by us, then by another worker
        self._left.value = float(len(left))
        return Rotation(rotated, len(left), tuple(unreadable))

    def _warn(self, rows: Sequence[SealedSecret], before: int) -> None:
        for each in rows:
            if each.sealed_at <= before:
                text = "secrets.rotation_near name=%s: it is encrypted anew within a week"
                self._once(each.name, text, each.name)

    def _once(self, what: str, text: str, *args: object) -> None:
        """A standing state is told once a day."""
        now = time()
        if now - self._warned.get(what, 0.0) >= WARN_SECONDS:
            self._warned[what] = now
            log.warning(text, *args)

    async def _always(self) -> None:
        while True:
            try:
                done = await self.due()
                if done.rotated:
                    log.info("secrets.rotated count=%d left=%d", done.rotated, done.left)
            except GatewayError as error:
                log.warning("secrets.waiting %s", error)
            except Exception:  # a store's bug must not end the rotation for good
                log.exception("secrets.failed")
            await asyncio.sleep(CHECK_SECONDS)


def _now() -> int:
    return int(time() * 1000)
