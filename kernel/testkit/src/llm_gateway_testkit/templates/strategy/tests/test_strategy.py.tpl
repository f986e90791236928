import llm_gateway_api as gw

from {{module}} import plugin

ARRIVAL = gw.Arrival("r-1", "POST", "/", "", {}, "127.0.0.1", 0.0)
ASKED = gw.Asked(ARRIVAL, "m", "chat", False, 10, False, False)
ONE, TWO = gw.Target("one", "m"), gw.Target("two", "m")


def test_target_that_failed_comes_last() -> None:
    strategy = plugin.{{Class}}()

    strategy.report(ONE, gw.Outcome(ONE, "server_error"))
    one, two = strategy.score(ASKED, [ONE, TWO])

    assert one < two


def test_client_that_left_counts_for_nobody() -> None:
    strategy = plugin.{{Class}}()

    strategy.report(ONE, gw.Outcome(ONE, None, cancelled=True))

    assert strategy.score(ASKED, [ONE, TWO]) == [0.0, 0.0]


def test_weight_of_zero_takes_no_traffic() -> None:
    idle = gw.Target("idle", "m", weight=0)

    assert plugin.{{Class}}().score(ASKED, [idle]) == [plugin.NEVER]
