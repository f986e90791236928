"""One call to a provider: its credential, and what an answer that is a refusal means."""

import re
from typing import TYPE_CHECKING

from llm_gateway_api import (
    FailureClass,
    Headers,
    RefusedCall,
    UpstreamError,
    UpstreamRequest,
)
from msgspec import Struct, structs

from llm_gateway.masking import LEAST_SECRET, MASK
from llm_gateway.transport import Exchange, Told

if TYPE_CHECKING:
    from llm_gateway.attempt import Bound

MAX_ERROR_BYTES = 1024 * 1024
SECRET_HEADER = re.compile("auth|key|token|secret|cookie|signature", re.IGNORECASE)


class Opened(Struct, frozen=True):
    """A call whose answer's head is in: what was asked in the end, and, where the status is
    300 and more, what that means. Who gets it releases the connection."""

    asked: UpstreamRequest
    connection: Exchange
    error: UpstreamError | None = None


async def opened(
    bound: "Bound", asked: UpstreamRequest, deadline: float, sending: Told | None = None
) -> Opened:
    """Call the provider with its credential. `sending` is called when the request goes out.

    A refusal that the provider can mend (`SupportsSecondTry`) is followed by one more call
    before `deadline`. Nobody else hears of the first: it is no attempt of its own.
    """
    sent = asked if bound.bare else await authorised(bound, asked)
    connection = await bound.upstream.send(sent, deadline, sending)
    if connection.status < 300:
        return Opened(asked, connection)
    return await mended(bound, asked, sent, connection, deadline, sending)


async def mended(
    bound: "Bound",
    asked: UpstreamRequest,
    sent: UpstreamRequest,
    connection: Exchange,
    deadline: float,
    sending: Told | None = None,
) -> Opened:
    """What comes of a call that was refused: another one in its place, or what it means."""
    mending = bound.can.second_try
    while True:
        again = None
        try:
            body = await connection.read(MAX_ERROR_BYTES)
            if mending is not None and connection.status >= 400:
                call = (connection.status, connection.headers, body)
                again = mending.again(RefusedCall(asked, sent.headers, *call))
            if again is None:
                return Opened(asked, connection, meaning(connection, body, bound, sent))
        except BaseException:
            connection.release()
            raise
        connection.release()
        asked, mending = again, None
        sent = await authorised(bound, asked)
        connection = await bound.upstream.send(sent, deadline, sending)
        if connection.status < 300:
            return Opened(asked, connection)


async def authorised(bound: "Bound", sent: UpstreamRequest) -> UpstreamRequest:
    """With the configured headers, the credential, and the signature over all of it."""
    if bound.headers:
        sent = structs.replace(sent, headers={**sent.headers, **bound.headers})
    credentials = bound.can.credentials
    if credentials is not None and (extra := await credentials.auth_headers()):
        sent = structs.replace(sent, headers={**sent.headers, **extra})
    if bound.can.signing is not None:
        sent = bound.can.signing.sign(sent)
    return sent


def meaning(
    connection: Exchange, body: bytes, bound: "Bound", sent: UpstreamRequest
) -> UpstreamError:
    if connection.status < 400:
        return UpstreamError(
            FailureClass.SERVER_ERROR, "the provider redirected the call; not followed"
        )
    body = without_credentials(body, sent.headers, bound.headers)
    return bound.provider.classify(connection.status, connection.headers, body)


def without_credentials(body: bytes, sent: Headers, configured: Headers) -> bytes:
    """What a provider says, in case it tells back what it was sent: neither the caller nor a log
    is to read the key. All of `configured` may be one, of `sent` what is called so."""
    for name, value in sent.items():
        secret = value.rpartition(" ")[2]
        if len(secret) >= LEAST_SECRET and (name in configured or SECRET_HEADER.search(name)):
            body = body.replace(secret.encode(), MASK.encode())
    return body
