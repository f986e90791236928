"""Declares the guardrail: rules on requests and answers, and services that judge requests."""

import asyncio
from collections.abc import Sequence

import llm_gateway_api as gw

from llm_gateway_filter_guardrail.external import allowed
from llm_gateway_filter_guardrail.rules import Rules
from llm_gateway_filter_guardrail.settings import External, GuardrailSettings, Rule, Side
from llm_gateway_filter_guardrail.texts import texts
from llm_gateway_filter_guardrail.watching import Watching

PATH = "plugins.filter_guardrail"
# From here on the search goes to a thread, so that other requests need not wait for it.
LARGE_BYTES = 128 * 1024


class GuardrailFilter:
    """CONTENT: what breaks a rule is refused, or counted where the rule only watches."""

    def __init__(self, settings: GuardrailSettings, fetch: gw.Fetch, metrics: gw.Metrics) -> None:
        self._settings = settings
        self._fetch = fetch
        self._rules = {rule.name: rule for rule in settings.rules}
        # Compiled once for each set of rules that holds somewhere.
        self._compiled: dict[tuple[str, ...], Rules] = {}
        self._hits = metrics.counter(
            "gateway_filter_guardrail_hits_total", "rules broken", ("rule", "side", "action")
        )
        self._failures = metrics.counter(
            "gateway_filter_guardrail_failures_total", "services that gave no verdict", ("rule",)
        )

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        assert isinstance(seen, gw.Content)
        rules = self._holding("request", seen.arrival)
        length = seen.arrival.headers.get("content-length", "")
        if length.isdecimal() and int(length) < LARGE_BYTES:
            found = broken(rules, seen.request)
        else:
            found = await asyncio.to_thread(broken, rules, seen.request)
        for rule, field in found:
            if self._counted(rule.name, rule.monitor, "request"):
                return refused(rule.name, field)
        name = await self._judged(seen)
        return seen if name is None else refused(name, None)

    def watch(self, arrival: gw.Arrival) -> gw.EventFilter:
        rules = self._holding("answer", arrival)
        counted: set[str] = set()

        def verdict(names: Sequence[str]) -> None:
            for name in names:
                if name not in counted:
                    counted.add(name)
                    if self._counted(name, self._rules[name].monitor, "answer"):
                        raise gw.RefusedError(
                            f"The answer was stopped by the rule {name}.", code="answer_blocked"
                        )

        return Watching(rules, self._settings.window_characters, verdict)

    def _holding(self, side: Side, arrival: gw.Arrival) -> Rules:
        tenant = arrival.principal.tenant
        rules = [
            rule
            for rule in self._settings.rules
            if side in rule.on and rule.holds(tenant, arrival.path)
        ]
        key = tuple(rule.name for rule in rules)
        compiled = self._compiled.get(key)
        if compiled is None:
            compiled = self._compiled[key] = Rules(rules)
        return compiled

    async def _judged(self, seen: gw.Content) -> str | None:
        """The name of the service that refuses, all of them asked at once."""
        arrival = seen.arrival
        tenant = arrival.principal.tenant
        asked = [each for each in self._settings.external if each.holds(tenant, arrival.path)]
        if not asked:
            return None
        said = [text for _, text in texts(seen.request)]
        verdicts = await asyncio.gather(
            *(allowed(each, self._fetch, arrival, said) for each in asked)
        )
        for each, verdict in zip(asked, verdicts, strict=True):
            if self._refuses(each, verdict):
                return each.name
        return None

    def _refuses(self, service: External, verdict: bool | None) -> bool:
        if verdict is None:
            self._failures.value(service.name).inc()
            return service.fail == "closed" and not service.monitor
        return not verdict and self._counted(service.name, service.monitor, "request")

    def _counted(self, name: str, monitor: bool, side: Side) -> bool:
        """Whether it is to be refused."""
        self._hits.value(name, side, "monitor" if monitor else "block").inc()
        return not monitor


_: type[gw.SecurityFilter] = GuardrailFilter
__: type[gw.SupportsWatch] = GuardrailFilter


def broken(rules: Rules, request: gw.CanonicalRequest) -> list[tuple[Rule, str]]:
    """Each rule that is broken, with the first field that breaks it."""
    found: dict[str, tuple[Rule, str]] = {}
    for field, text in texts(request):
        for rule in rules.broken(text):
            found.setdefault(rule.name, (rule, field))
    return list(found.values())


def refused(name: str, field: str | None) -> gw.Refusal:
    message = f"The request was refused by the rule {name}."
    return gw.Refusal(403, "request_blocked", message, field)


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, GuardrailSettings, waits=True)]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    needs = ("fetch", "metrics")
    return [
        gw.SecurityFilterSpec(
            "guardrail", "content", GuardrailFilter, PATH, after=("pii",), needs=needs
        )
    ]
