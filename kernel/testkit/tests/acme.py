"""A small provider plugin, right in every way, for the kit to be tested on."""

import json
from collections.abc import Sequence

import llm_gateway_api as gw
from pydantic import Field, SecretStr


class Settings(gw.ProviderSettings):
    api_key: SecretStr = Field(default=SecretStr(""), description="the key")


CLASSES = {
    400: gw.FailureClass.CALLER_FAULT,
    401: gw.FailureClass.CREDENTIAL_REFUSED,
    402: gw.FailureClass.ACCOUNT_EMPTY,
    403: gw.FailureClass.CREDENTIAL_REFUSED,
    404: gw.FailureClass.MODEL_GONE,
    413: gw.FailureClass.CALLER_FAULT,
    422: gw.FailureClass.CALLER_FAULT,
    429: gw.FailureClass.RATE_LIMITED,
}


class LineDecoder:
    """One JSON object a line; the line ``"end"`` ends the answer."""

    def __init__(self) -> None:
        self._rest = b""
        self._ended = False

    def feed(self, data: bytes) -> list[gw.Event]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if line for event in self._line(line)]

    def finish(self) -> list[gw.Event]:
        if not self._ended or self._rest:
            raise gw.UpstreamTruncatedError("the answer was cut off")
        return []

    def _line(self, line: bytes) -> list[gw.Event]:
        try:
            value = json.loads(line)
            if value == "end":
                self._ended = True
                return [gw.Finished("stop")]
            return [gw.TextDelta(str(value["say"]))]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise gw.UpstreamTruncatedError("the answer makes no sense") from error


class Acme:
    def __init__(self, name: str, settings: Settings) -> None:
        self._headers = {"x-key": settings.api_key.get_secret_value()}

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        for tool in request.tools or ():
            raise gw.unsupported_tool(tool)
        says = [each.role for each in request.messages]
        body = json.dumps({"model": request.model, "turns": says}).encode()
        left = (*request.params, *request.extra, *gw.unnamed(request))
        return gw.UpstreamRequest(
            "POST", "http://acme/say", self._headers, body, LineDecoder, dropped=left
        )

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        kind = CLASSES.get(status, gw.FailureClass.SERVER_ERROR)
        wait = float(headers["retry-after"]) if "retry-after" in headers else None
        return gw.UpstreamError(kind, "acme says no", upstream_status=status, retry_after=wait)

    def models(self) -> Sequence[gw.ModelInfo]:
        return ()


_: type[gw.Provider] = Acme


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [gw.ProviderSpec(kind="acme", settings=Settings, make=Acme)]
