"""Calls to addresses that the configuration does not name: pictures, webhooks, key sets.

A plugin gets it with ``needs=("fetch",)``; a provider's calls are the kernel's own and go
another way.
"""

from typing import Protocol

import msgspec

from llm_gateway_api.values import Headers


class Fetched(msgspec.Struct, frozen=True):
    """A whole answer. `url` is where it came from after redirects; header names are in
    lower case."""

    url: str
    status: int
    headers: Headers
    body: bytes


class Fetch(Protocol):
    """One guarded HTTP call, read to its end; any status is an answer.

    Only http and https, without a name and password in the address. Each address that a
    name stands for is judged when it is connected to, redirects included: private,
    loopback, link-local, shared, multicast and reserved ranges are refused, however they
    are written, but for what ``security.egress.allow_private`` lists. A redirect is
    followed for a GET that carries no headers, and never from https to http.
    """

    async def __call__(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Headers | None = None,
        body: bytes = b"",
        seconds: float | None = None,
        max_bytes: int | None = None,
    ) -> Fetched:
        """`seconds` and `max_bytes` may only lower what ``security.egress`` allows.

        Raises:
            EgressRefusedError: the address is not allowed.
            FetchError: it cannot be reached, is too slow, or its answer is too large.
        """
