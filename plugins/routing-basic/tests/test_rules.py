"""What conditions mean, and what is wrong with the others."""

from typing import Any, cast

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_routing_basic import plugin
from llm_gateway_routing_basic.condition import FIELDS, ConditionError, compiled, reads
from pydantic import ValidationError


def asked(**changes: Any) -> gw.Asked:
    headers = changes.pop("headers", {"x-team": "red", "x-gateway-tags": "batch, eu-west"})
    principal = changes.pop("principal", gw.Principal(key_id="k1", tenant="acme"))
    arrival = gw.Arrival("r1", "POST", "/", "", headers, "127.0.0.1", 0.0, principal)
    values: dict[str, Any] = {
        "model": "claude-3",
        "operation": "chat",
        "stream": True,
        "prompt_bytes": 500,
        "tools": False,
        "images": True,
        "region": "us-east-1",
        "at": 1_795_529_100.0,  # 2026-11-24, 14:05 UTC
    }
    return gw.Asked(arrival, **(values | changes))


@pytest.mark.parametrize(
    "condition",
    [
        "model starts_with 'claude'",
        'model ends_with "-3"',
        "model contains 'aud'",
        r"model matches '^claude-\d$'",
        "model == 'claude-3' and model != 'gpt'",
        "model in ['gpt-4o', 'claude-3']",
        "tenant == 'acme' and key == 'k1'",
        "headers.x-team == 'red' and headers['X-Team'] in ['red']",
        "'batch' in tags and tags contains 'eu-west' and tags starts_with 'eu'",
        "tags == ['eu-west', 'batch'] and tags in ['x', 'batch'] and tags matches 'w.st'",
        "prompt_size > 499 and prompt_size >= 500 and prompt_size < 500.5 and prompt_size <= 500",
        "stream and images and not tools and stream == true and tools == false",
        "operation == 'chat'",
        "region starts_with 'us'",
        "(model == 'a' or model == 'b' or model == 'claude-3') and not (model == 'a')",
        "model == 'a' and model == 'b' or stream",
        "\n  stream\n  and\n  images\n",
        "time == '14:05' and time >= '09:00' and time < '17:00' and weekday == 'tue'",
        "weekday in ['tue', 'wed'] and not (time < '14:05')",
    ],
)
def test_holds(condition: str) -> None:
    """Each field and each operator says what its name says."""
    assert compiled(condition)(asked())


@pytest.mark.parametrize(
    "comparison",
    ["== 'a'", "!= 'a'", "in ['a']", "starts_with ''", "ends_with ''", "contains ''", "matches ''"],
)
@pytest.mark.parametrize("field", ["tenant", "key", "region", "headers.x-none"])
def test_missing(field: str, comparison: str) -> None:
    """Whatever compares a field that is absent is false; not turns it round."""
    nobody = asked(principal=gw.ANONYMOUS, region=None, headers={})

    assert not compiled(f"{field} {comparison}")(nobody)
    assert not compiled(field)(nobody)
    assert compiled(f"not {field} {comparison}")(nobody)


@pytest.mark.parametrize(
    ("condition", "where", "says"),
    [
        ("modle == 'a'", (1, 1), "did you mean model"),
        ("model.x == 'a'", (1, 1), "model.x"),
        ("stream and\n model = 'a'", (2, 8), "'='"),
        ("model == 'a", (1, 10), "does not end"),
        ("model ==", (1, 9), "too early"),
        ("(model == 'a'", (1, 14), "too early"),
        ("model == 'a' 'b'", (1, 14), "did not expect"),
        ("model startswith 'a'", (1, 7), "the operators are .* starts_with"),
        ("", (1, 1), "empty"),
        ("prompt_size > 'a'", (1, 15), "a number"),
        ("model > 'a'", (1, 7), "compares numbers"),
        ("stream contains 'a'", (1, 8), "compares texts"),
        ("model == 5", (1, 10), "a text"),
        ("model in 'a'", (1, 10), "wants a list"),
        ("model in [['a']]", (1, 11), "texts and numbers"),
        ("model == tenant", (1, 10), "compare with"),
        ("'a' == model", (1, 1), "starts with a field"),
        ("'a'", (1, 1), "value alone"),
        ("headers == 'a'", (1, 1), "name the header"),
        ("model matches '('", (1, 15), "not valid"),
        ("not " * 100 + "stream", (1, 261), "nests deeper"),
        ("x" * 9000, (1, 1), "characters"),
    ],
)
def test_refused(condition: str, where: tuple[int, int], says: str) -> None:
    """What makes no sense is an error that says where, when the settings are read."""
    rule = {"name": "r", "condition": condition, "target_provider": "p"}

    with pytest.raises(ValidationError, match=says) as caught:
        plugin.RulesSettings.model_validate([rule])

    assert f"line {where[0]}, column {where[1]}:" in str(caught.value)


WORDS = ["model", "tags", "not", "(", ")", "and", "==", "'a'", "[", "]", ",", "in", "5", "."]


@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
def test_any_text(condition: str) -> None:
    """A condition is compiled and runs, or is refused in words; nothing else happens."""
    try:
        test = compiled(condition)
    except ConditionError as error:
        assert str(error).startswith("line 1, column ")
    else:
        assert test(asked()) in (True, False)


def test_target() -> None:
    """The rule of the highest priority that holds wins, then the first in the file."""
    rule = {"condition": "model starts_with 'c'", "target_provider": "p"}
    rules = plugin.Rules(
        plugin.RulesSettings.model_validate(
            [
                rule | {"name": "low", "priority": -1},
                rule | {"name": "first", "target_provider": "q"},
                rule | {"name": "second"},
                rule | {"name": "elsewhere", "condition": "tools", "priority": 9},
            ]
        )
    )

    assert rules.target(asked()) == ("first", "q")
    assert rules.target(asked(tools=True)) == ("elsewhere", "p")
    assert rules.target(asked(model="gpt")) is None


def test_settings_closed() -> None:
    """A typo is an error, names are unique, and no rules are fine."""
    rule = {"name": "r", "condition": "stream", "target_provider": "p"}

    with pytest.raises(ValidationError, match="prioritty"):
        plugin.RulesSettings.model_validate([rule | {"prioritty": 1}])
    with pytest.raises(ValidationError, match="two rules are called 'r'"):
        plugin.RulesSettings.model_validate([rule, rule])
    assert plugin.Rules(plugin.RulesSettings()).target(asked()) is None


def test_declarations() -> None:
    """The rules are bound to the rules' own path; strategies have no settings."""
    (settings,) = plugin.llm_gateway_settings()
    (spec,) = plugin.llm_gateway_routing_filters()
    strategies = plugin.llm_gateway_routing_strategies()

    assert spec.settings == settings.path == "routing.rules"
    assert spec.make(settings.model()) is None, "without rules nobody is asked"
    rule = {"name": "r", "condition": "stream", "target_provider": "p"}
    assert isinstance(spec.make(settings.model.model_validate([rule])), gw.SupportsTarget)
    assert [(each.name, each.settings) for each in strategies] == [
        ("round_robin", None),
        ("weighted", None),
    ]


def test_rules_say_what_they_read() -> None:
    """A field that is read of something else than the member of its name is among those too."""
    told = {
        name: reads("headers.x-team == 'red'" if name == "headers" else name) for name in FIELDS
    }

    assert frozenset().union(*told.values()) <= set(gw.Asked.__struct_fields__)
    assert told["tags"] == told["tenant"] == told["headers"] == {"arrival"}
    assert reads("model == 'a' or not ('batch' in tags and time > '09:00')") == {
        "model",
        "arrival",
        "at",
    }
    rule = {"name": "r", "condition": "model starts_with 'a'", "target_provider": "p"}
    other = {"name": "s", "condition": "tools and model == 'b'", "target_provider": "p"}
    both = plugin.RulesSettings.model_validate([rule, other])
    assert plugin.Rules(plugin.RulesSettings.model_validate([rule])).reads() == {"model"}
    assert plugin.Rules(both).reads() == {"model", "tools"}


def test_a_rule_whose_provider_is_nowhere_is_warned_about() -> None:
    class Known:
        def exists(self, name: str) -> bool:
            return name.partition("/")[0] == "here"

    rules = plugin.RulesSettings.model_validate(
        [
            {"name": "one", "condition": "stream", "target_provider": "here"},
            {"name": "two", "condition": "stream", "target_provider": "nowhere"},
        ]
    )

    found = plugin.Rules(rules).warnings(cast(gw.Targets, Known()))

    assert found == ["routing.rules: two is skipped, since no provider is called 'nowhere'"]
