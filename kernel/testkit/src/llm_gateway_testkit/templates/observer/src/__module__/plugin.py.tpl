"""Declares the observer ``{{id}}``: counts how requests ended."""

import llm_gateway_api as gw

NAME = "{{id}}"
ENDED = f"gateway_{NAME}_requests_total"


class {{Class}}:
    """Told of each request; sync and cheap. What it raises is counted and dropped."""

    def __init__(self, *, metrics: gw.Metrics) -> None:
        self._ended = metrics.counter(ENDED, "requests by how they ended", ("outcome",))

    def started(self, arrival: gw.Arrival) -> None:
        """Nothing to count yet."""

    def attempt(self, arrival: gw.Arrival, target: gw.Target, outcome: gw.Outcome) -> None:
        """One try at one target; `finished` tells of the whole."""

    def first_content(self, arrival: gw.Arrival, target: gw.Target) -> None:
        """The answer begins."""

    def finished(self, arrival: gw.Arrival, outcome: gw.Outcome) -> None:
        how = "cancelled" if outcome.cancelled else outcome.failure or "answered"
        self._ended.value(how).inc()


_: type[gw.Observer] = {{Class}}  # the type checker proves the contract


@gw.hookimpl
def llm_gateway_observers() -> list[gw.ObserverSpec]:
    return [gw.ObserverSpec(NAME, {{Class}}, needs=("metrics",))]
