"""The order in which declarations of one hook are asked."""

from collections.abc import Sequence
from typing import TypeVar

from llm_gateway_api import AttemptPolicySpec, ConfigurationError, GuardSpec, SecurityFilterSpec

Turn = TypeVar("Turn", SecurityFilterSpec, GuardSpec, AttemptPolicySpec)
LAST = "*"
STAGES = ("connection", "identity", "admission", "content")


def ordered_filters(specs: Sequence[SecurityFilterSpec]) -> list[SecurityFilterSpec]:
    """By stage, and in turn within each."""
    return [each for stage in STAGES for each in in_turn([s for s in specs if s.stage == stage])]


def in_turn(specs: Sequence[Turn]) -> list[Turn]:
    """By `before` and `after`, then name. A cycle is a `ConfigurationError`.

    Who is `after` ``*`` waits for all who are not.
    """
    found: list[Turn] = []
    left = {spec.name: spec for spec in specs}
    while left:
        free = [
            name
            for name, spec in left.items()
            if not any(other in left for other in spec.after)
            and not (LAST in spec.after and any(LAST not in each.after for each in left.values()))
            and not any(name in other.before for other in left.values())
        ]
        if not free:
            raise ConfigurationError(
                f"The plugins' {', '.join(sorted(left))} want to run before one another."
            )
        found.append(left.pop(min(free)))
    return found
