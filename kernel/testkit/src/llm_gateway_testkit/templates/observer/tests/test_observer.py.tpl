import llm_gateway_api as gw
import pytest

from {{module}} import plugin

ARRIVAL = gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0)


@pytest.mark.parametrize(
    ("outcome", "how"),
    [
        (gw.Outcome(None, None), "answered"),
        (gw.Outcome(None, "server_error"), "server_error"),
        (gw.Outcome(None, None, cancelled=True), "cancelled"),
    ],
)
def test_end_is_counted(outcome: gw.Outcome, how: str) -> None:
    metrics = gw.Metrics()
    observer = plugin.{{Class}}(metrics=metrics)

    observer.finished(ARRIVAL, outcome)

    counted = {each.name: each for each in metrics.families()}
    assert counted["gateway_{{id}}_requests_total"].value(how).value == 1
