"""A vendor with a format of its own: one JSON object a line, ``"end"`` at the end."""

import json
from collections.abc import Sequence

import llm_gateway_api as gw
from pydantic import Field, HttpUrl, SecretStr

F = gw.FailureClass
CLASSES = {
    **dict.fromkeys((400, 413, 422), F.CALLER_FAULT),
    **dict.fromkeys((401, 403), F.CREDENTIAL_REFUSED),
    402: F.ACCOUNT_EMPTY,
    404: F.MODEL_GONE,
    429: F.RATE_LIMITED,
}


class Settings(gw.ProviderSettings):
    api_key: SecretStr = Field(default=SecretStr(""), description="the key")
    base_url: HttpUrl = Field(default=HttpUrl("http://lineal.test"), description="the address")


class Lines:
    def __init__(self) -> None:
        self._rest, self._ended = b"", False

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


class Lineal:
    def __init__(self, name: str, settings: Settings) -> None:
        self._url = f"{str(settings.base_url).rstrip('/')}/say"
        self._headers = {"x-key": settings.api_key.get_secret_value()}

    def encode(self, request: gw.ChatRequest) -> gw.UpstreamRequest:
        for tool in request.tools or ():
            raise gw.unsupported_tool(tool)
        turns = [
            f"{each.role}: {part.text}"
            for each in request.messages
            for part in each.parts
            if isinstance(part, gw.TextPart)
        ]
        body = json.dumps({"model": request.model, "turns": turns}).encode()
        left = (*request.params, *request.extra, *gw.unnamed(request))
        return gw.UpstreamRequest("POST", self._url, self._headers, body, Lines, dropped=left)

    def classify(self, status: int, headers: gw.Headers, body: bytes) -> gw.UpstreamError:
        wait = float(headers["retry-after"]) if "retry-after" in headers else None
        kind = CLASSES.get(status, F.SERVER_ERROR)
        return gw.UpstreamError(kind, "lineal says no", upstream_status=status, retry_after=wait)

    def models(self) -> Sequence[gw.ModelInfo]:
        return (gw.ModelInfo("line-1"),)


@gw.hookimpl
def llm_gateway_providers() -> list[gw.ProviderSpec]:
    return [gw.ProviderSpec("lineal", Settings, Lineal)]
