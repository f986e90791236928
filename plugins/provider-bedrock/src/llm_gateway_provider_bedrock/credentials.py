"""Credentials that are there when a request needs them, renewed before they expire."""

import asyncio
import time
from collections.abc import Callable

import llm_gateway_api as gw

from llm_gateway_provider_bedrock.signing import Credentials
from llm_gateway_provider_bedrock.sources import CredentialsError

ADVISORY_SECONDS = 15 * 60
MANDATORY_SECONDS = 10 * 60
PAUSE_SECONDS = 30.0
FRESH_SECONDS = 5.0

Resolve = Callable[[], Credentials]


class CredentialStore:
    """Holds one snapshot. `resolve` is a plain function that may read files and speak HTTP:
    it runs in a thread, never twice at once, and every request that waits shares its result.

    Long before the expiry a renewal runs behind the requests; close to it they wait.
    """

    def __init__(self, resolve: Resolve, clock: Callable[[], float] = time.time) -> None:
        self._resolve = resolve
        self._clock = clock
        self._task: asyncio.Task[Credentials] | None = None
        self._taken = float("-inf")
        self._failed = float("-inf")
        self._expired: Credentials | None = None
        self.snapshot: Credentials | None = None

    @property
    def lasts(self) -> bool:
        """Whether what is held never expires: then nobody need wait for it."""
        return self.snapshot is not None and self.snapshot.expires is None

    async def current(self) -> Credentials:
        """Credentials that are valid now.

        Raises:
            UpstreamError: none can be had; the text says what was tried.
        """
        found = self.snapshot
        left = self._left(found)
        if found is not None and left > ADVISORY_SECONDS:
            return found
        if found is not None and left > MANDATORY_SECONDS:
            if self._clock() - self._failed > PAUSE_SECONDS:
                self._renewal()
            return found
        try:
            return await asyncio.shield(self._renewal())
        except CredentialsError as error:
            if found is not None and self._left(found) > 0:
                return found  # valid still, whatever the source of new ones says
            raise gw.UpstreamError(gw.FailureClass.CREDENTIAL_REFUSED, str(error)) from error

    def expire(self) -> bool:
        """The vendor calls the credentials of a request expired; whether another try may help.

        The snapshot is given up once. Where its source gives the same again, no try helps;
        where other requests had it renewed just now, there is nothing to give up.
        """
        recent = self._clock() - self._taken < FRESH_SECONDS
        if self.snapshot is not None and self.snapshot == self._expired:
            if not recent:
                self.snapshot = None  # its source may have others by now
            return False
        if self.snapshot is None or (recent and self._expired is not None):
            return True
        self._expired, self.snapshot = self.snapshot, None
        return True

    def _left(self, found: Credentials | None) -> float:
        if found is None:
            return 0.0
        return float("inf") if found.expires is None else found.expires - self._clock()

    def _renewal(self) -> "asyncio.Task[Credentials]":
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._renew(), name="bedrock credentials")
            self._task.add_done_callback(_seen)
        return self._task

    async def _renew(self) -> Credentials:
        try:
            found = await asyncio.to_thread(self._resolve)
        except CredentialsError:
            self._failed = self._clock()
            raise
        except Exception as error:
            self._failed = self._clock()
            reason = f"AWS credentials could not be read ({type(error).__name__})."
            raise CredentialsError(reason) from error
        self.snapshot, self._taken = found, self._clock()
        return found


def _seen(task: "asyncio.Task[Credentials]") -> None:
    """A renewal behind the requests may fail: the next one that needs it asks again."""
    if not task.cancelled():
        task.exception()
