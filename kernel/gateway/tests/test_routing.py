"""From a name to an order: who is a candidate, who is removed and why, who is first."""

from collections.abc import Sequence
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway.instances import Instance
from llm_gateway.pipeline import asked as asked_of
from llm_gateway.routing import Router

A = gw.Target("one", "a", 2.0, "us-east-1")
B = gw.Target("two", "b", 1.0, "eu-west-1")
C = gw.Target("two", "c", 1.0)
OFF = gw.Target("one", "off", 0.0)
INSTANCES = {
    "one": Instance("one", (gw.ModelInfo("a"),), "a", "us-east-1", 1.0, {}),
    "two": Instance("two", (), None, None, 1.0, {}),
}


class Turns:
    """Scores what it is told to, and counts how often it was asked in earnest."""

    def __init__(self, **scores: float) -> None:
        self.scores = scores
        self.asked = 0
        self.rehearsed = 0

    def score(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        self.rehearsed += asked.rehearsal
        self.asked += not asked.rehearsal
        return [self.scores.get(each.model, 0.0) for each in candidates]

    def report(self, target: gw.Target, outcome: gw.Outcome) -> None:
        pass


class Wish:
    def __init__(self, **wishes: float) -> None:
        self.wishes = wishes

    def prefer(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        return [self.wishes.get(each.model, 0.0) for each in candidates]


class Broken:
    def prefer(self, asked: gw.Asked, candidates: Sequence[gw.Target]) -> list[float]:
        raise RuntimeError("a bug")


class Rule:
    def target(self, asked: gw.Asked) -> tuple[str, str] | None:
        return ("to-two", "two") if asked.model == "ruled" else None


def router(strategy: gw.RoutingStrategy | None = None, **more: Any) -> Router:
    entries = {"m": (A, B, C, OFF), "ruled": (A, B, C), "off": (OFF,)}
    given: dict[str, Any] = {"filters": (), "rules": (), "default": None, **more}
    return Router(INSTANCES, entries, strategy=strategy, **given)


def ask(model: str = "m", headers: dict[str, str] | None = None, **principal: Any) -> gw.Asked:
    caller = gw.Principal("k", "t", **principal)
    arrival = gw.Arrival("r", "POST", "/", "", headers or {}, "peer", 0.0, caller)
    head = gw.RequestHead("d", "chat", model, False, False, {}, b"{}")
    return asked_of(arrival, head, False)


def names(plan: Sequence[gw.Target]) -> str:
    return "".join(each.model for each in plan)


def test_the_first_costs_one_question() -> None:
    """The strategy is asked once; the others are in order when somebody wants them."""
    turns = Turns(a=1, b=3, c=2)
    plan = router(turns).plan(ask())

    assert plan[0] is B and turns.asked == 1
    assert names(plan) == "bca"
    assert (turns.asked, len(plan)) == (1, 3)


def test_ties_go_by_weight_and_name() -> None:
    assert names(router(Turns()).plan(ask())) == "abc"


def test_weight_zero_never() -> None:
    """And where nobody else is left the reason is told."""
    with pytest.raises(gw.NoTargetError, match="one/off: weight 0"):
        router().plan(ask("off"))


def test_scorers_before_the_strategy() -> None:
    """Levels of preference first, the strategy's order within; sums decide the level."""
    turns = Turns(a=1, b=3, c=2)
    wished = router(turns, scorers=(("x", Wish(a=0.5, c=0.5)), ("y", Wish(c=-100.0))))

    assert names(wished.plan(ask())) == "abc"
    turns = Turns(a=1, b=3, c=2)
    assert names(router(turns, scorers=(("x", Wish(b=-100.0)),)).plan(ask())) == "cab"
    assert (turns.asked, turns.rehearsed) == (1, 0), "a single one needs no order"


def test_a_lower_level_moves_no_turn() -> None:
    turns = Turns(a=1, b=3, c=2)
    plan = router(turns, scorers=(("x", Wish(a=1.0)),)).plan(ask())

    assert names(plan) == "abc"
    assert (turns.asked, turns.rehearsed) == (0, 1)


def test_a_broken_scorer_prefers_nobody(caplog: pytest.LogCaptureFixture) -> None:
    wished = router(Turns(), scorers=(("bad", Broken()), ("good", Wish(c=1.0))))

    assert names(wished.plan(ask())) == "cab"
    assert "scorer.failed name=bad" in caplog.text


def test_a_region_of_its_own() -> None:
    """What the caller says, unless there is only one it may be served from."""
    header = {"x-gateway-region": "us"}

    assert ask(headers=header).region == "us"
    assert ask(headers=header, regions=frozenset({"eu"})).region == "eu"
    assert ask(headers=header, regions=frozenset({"eu", "us"})).region == "us"
    assert ask().region is None


def test_a_tenants_own_name() -> None:
    """A model of the caller's is another one behind it, which the caller must be allowed."""
    mine = {"renamed": {"gpt": "m"}}

    assert names(router(Turns()).plan(ask("gpt", **mine))) == "abc"
    assert names(router(Turns()).plan(ask("gpt", models=frozenset({"m"}), **mine))) == "abc"
    with pytest.raises(gw.PermissionDeniedError):
        router(Turns()).plan(ask("gpt", models=frozenset({"gpt"}), **mine))
    with pytest.raises(gw.ModelNotFoundError):
        router(Turns()).plan(ask("gpt"))


def test_a_rule_narrows() -> None:
    """To its provider's deployments of the entry; the decision says by which rule."""
    decision = router(Turns(), rules=(Rule(),)).decide(ask("ruled"))

    assert (decision.considered.by, decision.considered.rule) == ("rule", "to-two")
    assert decision.ranking is not None and names(decision.ranking) == "bc"


def test_without_fallback_only_the_first() -> None:
    assert names(router(Turns(c=1), fallback=False).plan(ask())) == "c"


def test_providers_of_the_key() -> None:
    decision = router(Turns()).decide(ask(providers=frozenset({"two"})))

    assert decision.ranking is not None and names(decision.ranking) == "bc"
    assert ("one/a", "not allowed for this key") in decision.considered.removed


class Few:
    """Takes the heaviest away from callers that are bound; asked for no other."""

    def __init__(self) -> None:
        self.asked = 0

    def applies(self, asked: gw.Asked) -> bool:
        return asked.arrival.principal.regions is not None

    def keep(self, asked: gw.Asked, candidate: gw.Target) -> str | None:
        self.asked += 1
        return "too heavy" if candidate is A else None


def test_a_filter_that_does_not_apply_costs_nothing_and_one_that_does_is_asked_each_time() -> None:
    """Whoever asked before: the quick way is for requests that no filter is about."""
    few = Few()
    made = router(Turns(a=9.0), filters=(("few", few),))

    for _ in range(2):
        assert made.plan(ask())[0] is A
        assert few.asked == 0
        assert A not in made.plan(ask(regions=frozenset({"eu"})))
        assert few.asked > 0
        few.asked = 0


@pytest.mark.parametrize("filters", [(), (("few", Few()),)])
def test_who_takes_no_traffic_is_told_on_the_quick_way_too(filters: Any) -> None:
    """Explaining says the same whatever is installed."""
    assert router(filters=filters).decide(ask()).considered.removed == [("one/off", "weight 0")]


class Counted:
    """A rule that counts its questions; `SupportsReads` where it is told what it reads."""

    def __init__(self) -> None:
        self.asked = 0

    def target(self, asked: gw.Asked) -> tuple[str, str] | None:
        self.asked += 1
        return ("long", "two") if asked.prompt_bytes > 100 else None


class Reads(Counted):
    def __init__(self, *members: str) -> None:
        super().__init__()
        self.members = frozenset(members)

    def reads(self) -> frozenset[str]:
        return self.members


@pytest.mark.parametrize(
    ("rule", "times"), [(Reads("model"), 1), (Reads("model", "at"), 3), (Counted(), 3)]
)
def test_rules_that_read_the_model_alone_are_asked_once_for_each(rule: Counted, times: int) -> None:
    routes = router(Turns(b=1), rules=(rule,))

    plans = [names(routes.plan(ask())) for _ in range(3)]

    assert plans == ["bac"] * 3
    assert rule.asked == times
    routes.plan(ask("ruled"))
    assert rule.asked == times + 1


def test_what_is_kept_of_a_name_holds_for_every_caller_by_itself() -> None:
    routes = router(rules=(Reads("model"),))

    assert names(routes.plan(ask())) == "abc"
    assert names(routes.plan(ask(providers=frozenset({"two"})))) == "bc"
    with pytest.raises(gw.PermissionDeniedError):
        routes.plan(ask(models=frozenset({"other"})))
    assert names(routes.plan(ask())) == "abc"


@pytest.mark.parametrize(
    ("parts", "looks"),
    [
        ((), False),
        ((Reads("model"), Reads("arrival", "at")), False),
        ((Reads("model"), Reads("tools")), True),
        ((Reads("model"), Counted()), True),
    ],
)
def test_a_body_is_searched_only_where_somebody_may_read_of_it(
    parts: Sequence[Counted], looks: bool
) -> None:
    assert router(rules=parts).looks is looks
    assert router(filters=tuple(("part", each) for each in parts)).looks is looks


def test_who_cannot_say_what_it_reads_is_taken_to_read_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fails(Counted):
        def reads(self) -> frozenset[str]:
            raise RuntimeError("a bug")

    rule = Fails()
    routes = router(rules=(rule,))
    for _ in range(2):
        routes.plan(ask())

    assert (rule.asked, routes.looks) == (2, True)
    assert "reads.failed part=Fails" in caplog.text
