"""Every error a client may see, one tree by blame, and the failure-class table.

The type is the decision: nobody compares status numbers or messages to decide on a retry.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class FailureClass(StrEnum):
    """Why an attempt failed. A provider adds detection, never policy."""

    CALLER_FAULT = "caller_fault"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_POLICY = "content_policy"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    NO_FIRST_CONTENT = "no_first_content"
    BROKEN_BEFORE_COMMIT = "broken_before_commit"
    BROKEN_AFTER_COMMIT = "broken_after_commit"
    CREDENTIAL_REFUSED = "credential_refused"
    ACCOUNT_EMPTY = "account_empty"
    MODEL_GONE = "model_gone"


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """What follows from a failure class.

    `status` is what the client gets when nobody answered; None keeps the vendor's 4xx.
    `retry_same` is whether the same target may be asked again, `try_next` whether another
    may, `breaker` whether it counts against the deployment's health, `larger` whether a
    target that takes more may be asked although `try_next` is False.
    """

    status: int | None
    code: str | None
    retry_same: bool
    try_next: bool
    breaker: bool
    larger: bool = False


FAILURES = MappingProxyType(
    {
        FailureClass.CALLER_FAULT: FailurePolicy(None, None, False, False, False),
        FailureClass.CONTEXT_TOO_LONG: FailurePolicy(
            400, "context_length_exceeded", False, False, False, larger=True
        ),
        FailureClass.CONTENT_POLICY: FailurePolicy(None, None, False, False, False),
        FailureClass.RATE_LIMITED: FailurePolicy(429, "rate_limit_exceeded", True, True, False),
        FailureClass.OVERLOADED: FailurePolicy(503, "upstream_overloaded", True, True, True),
        FailureClass.SERVER_ERROR: FailurePolicy(502, "upstream_error", True, True, True),
        FailureClass.CONNECT: FailurePolicy(502, "upstream_unreachable", False, True, True),
        FailureClass.CONNECT_TIMEOUT: FailurePolicy(504, "upstream_timeout", False, True, True),
        FailureClass.NO_FIRST_CONTENT: FailurePolicy(504, "upstream_timeout", False, True, True),
        FailureClass.BROKEN_BEFORE_COMMIT: FailurePolicy(
            502, "upstream_truncated", True, True, True
        ),
        FailureClass.BROKEN_AFTER_COMMIT: FailurePolicy(
            502, "upstream_truncated", False, False, True
        ),
        FailureClass.CREDENTIAL_REFUSED: FailurePolicy(
            502, "upstream_credentials", False, True, False
        ),
        FailureClass.ACCOUNT_EMPTY: FailurePolicy(502, "upstream_quota", False, True, False),
        FailureClass.MODEL_GONE: FailurePolicy(502, "upstream_model_gone", False, True, False),
    }
)


class GatewayError(Exception):
    """Base of every error a client may see; raise a subclass.

    Its text is one sentence for the client, free of secrets and upstream bodies. `param`
    names the field at fault, `retry_after` (seconds) when another try may help; a client
    is told not to retry when `retryable` is False. `headers` go with the answer.
    """

    status: int = 500
    code: str = "internal_error"
    type: str = "server_error"
    retryable: bool = False
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status


class ClientError(GatewayError):
    """The request is at fault; no other target can help."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


class MalformedBodyError(ClientError):
    """The body is not what its dialect demands."""

    code = "invalid_body"


class BodyTooLargeError(ClientError):
    """The body is larger than `server.max_body_bytes`, or than a filter allows."""

    status, code = 413, "request_too_large"


class UnsupportedParameterError(ClientError):
    """The chosen model cannot take a parameter or a kind of content."""

    code = "unsupported_parameter"


class AuthenticationError(ClientError):
    """No key, or none that is known."""

    status, code, type = 401, "invalid_api_key", "authentication_error"


class PermissionDeniedError(ClientError):
    """The key is known and may not do this."""

    status, code, type = 403, "permission_denied", "permission_error"


class ModelNotFoundError(ClientError):
    """Nobody is configured to serve the model."""

    status, code = 404, "model_not_found"


class NotFoundError(ClientError):
    """There is no such route, or nothing of that name."""

    status, code = 404, "not_found"


class MethodNotAllowedError(ClientError):
    """The route takes other methods."""

    status, code = 405, "method_not_allowed"


class RefusedError(ClientError):
    """A filter or a limiter said no; carries the refusal's own status and code."""

    status, code = 403, "rejected_by_filter"


class UpstreamError(GatewayError):
    """The provider is at fault; `failure` says in which way and the table what follows.

    `upstream_status` is the vendor's HTTP status where there was one.
    """

    status, code = 502, "upstream_error"
    retryable = True

    def __init__(
        self,
        failure: FailureClass,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        upstream_status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        policy = FAILURES[failure]
        super().__init__(
            message,
            param=param,
            code=policy.code or code or "upstream_refused",
            status=policy.status or upstream_status or 502,
            retry_after=retry_after,
        )
        self.failure = failure
        self.retryable = policy.retry_same or policy.breaker
        self.upstream_status = upstream_status
        if self.status < 500:
            self.type = "requests" if self.status == 429 else "invalid_request_error"


class UpstreamTruncatedError(UpstreamError):
    """The answer ended before its end, or made no sense."""

    def __init__(self, message: str) -> None:
        super().__init__(FailureClass.BROKEN_BEFORE_COMMIT, message)


class FetchError(GatewayError):
    """A call to an address that somebody else chose failed; the text says why, after
    "it cannot be had: "."""

    status, code = 502, "fetch_failed"
    retryable = True


class EgressRefusedError(FetchError):
    """The address is none that the gateway calls."""

    status, code = 403, "destination_refused"
    retryable = False


class NoTargetError(GatewayError):
    """Nobody could be asked: every candidate was refused, limited or out of service.

    Where routing removed them all (residency, rules, providers of the key, weight 0), another
    try cannot help, and the client is told so.
    """

    status, code = 503, "no_target_available"
    retryable = True


class GatewayTimeoutError(GatewayError):
    """The request's own deadline passed."""

    status, code = 504, "deadline_exceeded"


class DrainingError(GatewayError):
    """The gateway is going down; another one answers."""

    status, code = 503, "shutting_down"
    retryable = True


class ClientGoneError(GatewayError):
    """The client left; nothing is sent, 499 stands in the log."""

    status, code = 499, "client_closed_request"


class StoreError(GatewayError):
    """The database is gone, too slow, or refuses; nothing was changed."""

    status, code = 503, "store_unavailable"
    retryable = True


class MissingTableError(StoreError):
    """The database is there, a table or a column is not: migrations are pending."""

    def __init__(
        self, message: str = "The database lacks a table: run `llm-gateway migrate run`."
    ) -> None:
        super().__init__(message)


class ConflictError(ClientError):
    """What was to be made exists, or was changed by another meanwhile."""

    status, code = 409, "conflict"


class UnstorableError(ClientError):
    """The database takes a value like this from nobody; another try will not help."""

    status, code = 400, "unstorable_value"


class ConfigurationError(Exception):
    """The settings cannot work together; the text says which and how to mend it."""


class PluginError(Exception):
    """A plugin broke in `phase` (import, register, settings, declare, bind, open)."""

    def __init__(self, plugin: str, phase: str, reason: str) -> None:
        super().__init__(f"{plugin} failed in phase {phase}: {reason}")
        self.plugin, self.phase, self.reason = plugin, phase, reason
