"""What can go wrong, by type. Each error carries the gateway's own words and request id."""


class GatewayError(Exception):
    """The gateway said no, or could not be asked.

    `status` is the HTTP status, 0 where there was none; `code`, `type` and `param` are the
    gateway's own; `request_id` is what to quote to the operator; `retry_after` in seconds;
    `attempts` is how often this client has asked.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.attempts = 1

    def __str__(self) -> str:
        quote = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.message}{quote}"


class ConnectionFailedError(GatewayError):
    """No connection: wrong address, or the gateway is not running."""


class TimedOutError(GatewayError):
    """No answer in time; it may have been worked on."""


class StreamInterruptedError(GatewayError):
    """A stream ended before its end: what has come is half an answer."""
