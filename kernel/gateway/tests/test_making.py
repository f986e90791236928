"""What is unchanged is taken over from the generation before; what changed is made anew."""

from typing import Any

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
