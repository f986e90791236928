"""What is unchanged is taken over from the generation before; what changed is made anew."""

from typing import Any

import llm_gateway_api as gw
from llm_gateway.making import Maker


def maker(before: Maker | None = None) -> Maker:
    nobody: Any = None
    return Maker(nobody, nobody, before, {})


def test_the_same_settings_and_needs_keep_the_object() -> None:
    clock = object()
    first = maker()
    made = first.keep("breaker", ({"threshold": 5}, clock), object)
    second = maker(first)

    assert second.keep("breaker", ({"threshold": 5}, clock), object) is made


def test_other_settings_or_needs_make_another() -> None:
    clock = object()
    first = maker()
    made = first.keep("breaker", ({"threshold": 5}, clock), object)
    second = maker(first)

    assert second.keep("breaker", ({"threshold": 6}, clock), object) is not made
    assert second.keep("breaker", ({"threshold": 5}, object()), object) is not made


def test_a_generation_lets_go_of_the_one_before() -> None:
    first = maker()
    made = first.keep("a", (), object)
    second = maker(first)
    second.forget()

    assert second.keep("a", (), object) is not made


def test_who_is_asked_for_twice_is_made_once() -> None:
    """So the next generation takes over the one that all of this one share."""
    first = maker()
    made = first.keep("state", (), object)

    assert first.keep("state", (), object) is made
    assert maker(first).keep("state", (), object) is made


class Told:
    def __init__(self) -> None:
        self.targets: list[object] = []

    def reloaded(self, targets: gw.Targets) -> None:
        self.targets.append(targets)
        raise RuntimeError("a bug of a plugin stops no reload")


def test_a_reload_is_told_to_what_was_taken_over_too() -> None:
    first = maker()
    old = first.keep("old", (), Told)
    second = maker(first)
    second.offers["targets"] = deployments = object()
    second.keep("old", (), Told)
    new = second.keep("new", (), Told)
    second.keep("other", (), object)

    second.reloaded()

    assert old.targets == new.targets == [deployments]
