"""Declares the filter of prompts and the redactor of what is kept."""

import asyncio
from contextvars import ContextVar

import llm_gateway_api as gw

from llm_gateway_filter_pii.recognisers import Finder, Kind, recognisers
from llm_gateway_filter_pii.settings import PiiSettings
from llm_gateway_filter_pii.undoing import Undoing
from llm_gateway_filter_pii.vault import BlockedError, Masker, Vault, literal_placeholders
from llm_gateway_filter_pii.walking import Walk

PATH = "plugins.filter_pii"
# From here on the search goes to a thread, so that other requests need not wait for it.
LARGE_BYTES = 128 * 1024
# The request that the running task serves, with its placeholders: an answer's filter is
# made in the task that inspected the request.
_serving: ContextVar[tuple[gw.Arrival, Vault] | None] = ContextVar("serving", default=None)


class PiiFilter:
    """CONTENT: masks, blocks or counts personal data, and puts it back into the answer."""

    def __init__(self, settings: PiiSettings, metrics: gw.Metrics) -> None:
        self._settings = settings
        self._finder = Finder(recognisers(settings.names, settings.countries))
        self._found = metrics.counter(
            "gateway_filter_pii_found_total", "personal data in prompts", ("kind", "action")
        )

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        assert isinstance(seen, gw.Content)
        vault = Vault()
        length = seen.arrival.headers.get("content-length", "")
        if length.isdecimal() and int(length) < LARGE_BYTES:
            answer = self._inspected(seen, vault)
        else:
            answer = await asyncio.to_thread(self._inspected, seen, vault)
        _serving.set((seen.arrival, vault))
        return answer

    def watch(self, arrival: gw.Arrival) -> gw.EventFilter:
        serving = _serving.get()
        known = serving is not None and serving[0] is arrival
        return Undoing(serving[1] if known and serving is not None else Vault())

    def _inspected(self, seen: gw.Content, vault: Vault) -> gw.Content | gw.Refusal:
        arrival = seen.arrival
        mode, kinds = self._settings.policy(arrival.principal.tenant, arrival.path)
        if mode == "monitor":
            kinds = {kind: "off" if each == "off" else "mask" for kind, each in kinds.items()}
        if "reversible" in kinds.values():
            vault.taken = _taken(seen.request)
        masker = Masker(self._finder, kinds, vault)
        walk = Walk(masker.text, masker.json)
        try:
            request = walk.request(seen.request)
        except BlockedError as error:
            return _refused(error.kind, walk.at)
        finally:
            for kind, number in masker.found.items():
                action = mode if mode == "monitor" else kinds[kind]
                self._found.value(kind, action).inc(number)
        return seen if mode == "monitor" else gw.Content(arrival, request)


class PiiRedactor:
    """Meets `Redactor`: every kind, masked for good."""

    def __init__(self, settings: PiiSettings) -> None:
        self._finder = Finder(recognisers(settings.names, settings.countries))

    def redact(self, text: str) -> str:
        out, at = [], 0
        for hit in self._finder.find(text):
            out += [text[at : hit.start], f"[{hit.kind.upper()}]"]
            at = hit.end
        return "".join((*out, text[at:])) if out else text


_: type[gw.SecurityFilter] = PiiFilter
__: type[gw.SupportsWatch] = PiiFilter
___: type[gw.Redactor] = PiiRedactor


def _taken(request: gw.CanonicalRequest) -> set[str]:
    """What the caller wrote that looks like a placeholder: it must not turn into a value."""
    found: set[str] = set()

    def look(text: str) -> str:
        found.update(literal_placeholders(text))
        return text

    Walk(look, look).request(request)
    return found


def _refused(kind: Kind, param: str) -> gw.Refusal:
    what = kind.replace("_", " ")
    message = f"The request holds personal data ({what}) that may not be sent; take it out."
    return gw.Refusal(400, "personal_data", message, param)


def prompts(settings: PiiSettings, metrics: gw.Metrics) -> PiiFilter | None:
    return PiiFilter(settings, metrics) if settings.prompts else None


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, PiiSettings, switch="prompts")]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    return [gw.SecurityFilterSpec("pii", "content", prompts, PATH, needs=("metrics",))]


@gw.hookimpl
def llm_gateway_redactors() -> list[gw.RedactorSpec]:
    return [gw.RedactorSpec("pii", PiiRedactor, PATH)]
