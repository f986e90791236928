"""What belongs together stays together, and only that."""

from collections import Counter
from typing import Any

import llm_gateway_api as gw
import msgspec
import pytest
from llm_gateway_routing_affinity.scorer import Affinity, mixed
from llm_gateway_routing_affinity.settings import AffinitySettings

TARGETS = [gw.Target("p", name) for name in "abcd"]
LONG = {"input": 5000, "output": 1}


class World:
    def __init__(self, **settings: Any) -> None:
        self.now = 0.0
        self.scorer = Affinity(AffinitySettings.model_validate(settings), clock=lambda: self.now)
        self.guard = self.scorer.follower()

    def prefers(self, asked: gw.Asked, candidates: list[gw.Target] = TARGETS) -> str | None:
        """The model of the one that is preferred."""
        scores = self.scorer.prefer(asked, candidates)
        if scores is None:
            return None
        assert sorted(scores)[-2:] == [0.0, 0.5]
        return candidates[list(scores).index(0.5)].model

    def answer(self, asked: gw.Asked, *, cancelled: bool = False, **usage: int) -> None:
        lease = self.guard.admit(TARGETS[0], asked)
        assert isinstance(lease, gw.Lease)
        used = gw.Usage(**usage)
        self.guard.report(lease, gw.Outcome(TARGETS[0], None, cancelled, usage=used))


def ask(
    headers: dict[str, str] | None = None, tenant: str = "t", model: str = "m", **fields: object
) -> gw.Asked:
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in fields.items()}
    principal = gw.Principal("k", tenant)
    arrival = gw.Arrival("r", "POST", "/", "", headers or {}, "peer", 0.0, principal)
    return gw.Asked(arrival, model, "chat", False, 10, False, False, fields=raw)


def talk(text: str, *later: str, **fields: object) -> gw.Asked:
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]
    for at, each in enumerate(later):
        turns.append({"role": ("assistant", "user")[at % 2], "content": each})
    return ask(messages=turns, **fields)


def test_a_session_stays() -> None:
    """The same session finds the same deployment, in every worker; others spread."""
    one, other = World(), World()
    found = Counter()
    for number in range(400):
        asked = ask({"x-session-id": f"s{number}"})
        first = one.prefers(asked)
        assert first == other.prefers(asked) == one.prefers(asked)
        found[first] += 1

    assert set(found) == set("abcd")
    assert all(70 < count < 130 for count in found.values())


def test_a_conversation_stays() -> None:
    """Later turns do not change where it is; another beginning may."""
    world = World()
    first = world.prefers(talk("Hello"))

    assert world.prefers(talk("Hello", "Hi.", "And then?")) == first
    assert len({world.prefers(talk(f"Hello {number}")) for number in range(50)}) == 4


@pytest.mark.parametrize(
    "other",
    [
        ask(messages=[{"role": "user", "content": "Hello"}], tenant="other"),
        ask(messages=[{"role": "user", "content": "Hello"}], tools=[{"type": "function"}]),
        ask(messages=[{"role": "user", "content": "Hello"}], model="other"),
        ask(messages=[{"role": "user", "content": "Hello"}], system="Be brief."),
        ask(messages=[{"role": "user", "content": "Hello"}], prompt_cache_key="mine"),
    ],
)
def test_what_makes_another_conversation(other: gw.Asked) -> None:
    plain = ask(messages=[{"role": "user", "content": "Hello"}])

    assert gw.conversation_key(plain) != gw.conversation_key(other)


def test_the_clients_own_key() -> None:
    """Where the client says what belongs together, the prompt does not matter."""
    one, other = (ask(messages=[], prompt_cache_key="k", input=text) for text in ("a", "b"))

    assert gw.conversation_key(one) == gw.conversation_key(other)


@pytest.mark.parametrize(
    "fields", [{}, {"messages": []}, {"messages": 5}, {"input": "one text"}, {"messages": [7]}]
)
def test_no_beginning_no_preference(fields: dict[str, object]) -> None:
    assert World().prefers(ask(**fields)) is None


def test_only_its_own_conversations_move() -> None:
    """Without one deployment the conversations of the others stay where they are."""
    world = World()
    left = TARGETS[:3]
    for number in range(200):
        asked = ask({"x-session-id": f"s{number}"})
        before = world.prefers(asked)
        if before != "d":
            assert world.prefers(asked, left) == before


def test_weights_share() -> None:
    """Three times the weight, three times the sessions; weight 0 none."""
    world = World()
    candidates = [gw.Target("p", "a", 3), gw.Target("p", "b", 1), gw.Target("p", "c", 0)]
    found = Counter(
        world.prefers(ask({"x-session-id": f"s{number}"}), candidates) for number in range(4000)
    )

    assert found["c"] == 0
    assert 2850 < found["a"] < 3150


def test_misses_end_it() -> None:
    """Answers without cached tokens say that it is of no use; one that has some begins anew."""
    world = World(max_misses=2)
    asked = talk("Hello")
    assert world.prefers(asked) is not None
    world.answer(asked, **LONG)
    world.answer(asked, **LONG, cache_read=1000)
    world.answer(asked, **LONG)
    assert world.prefers(asked) is not None

    world.answer(asked, **LONG)
    assert world.prefers(asked) is None


def test_an_answer_that_was_left_shows_nothing() -> None:
    """What it used may be a guess."""
    world = World(max_misses=1)
    asked = talk("Hello")
    world.prefers(asked)
    world.answer(asked, cancelled=True, **LONG)

    assert world.prefers(asked) is not None


def test_short_prompts_show_nothing() -> None:
    world = World(max_misses=1)
    asked = talk("Hello")
    world.prefers(asked)
    world.answer(asked, input=100)

    assert world.prefers(asked) is not None


def test_idle_begins_anew() -> None:
    world = World(max_misses=1, idle_seconds=60)
    asked = talk("Hello")
    world.prefers(asked)
    world.answer(asked, **LONG)
    assert world.prefers(asked) is None

    world.now = 61.0
    assert world.prefers(asked) is not None


def test_a_session_needs_no_cache() -> None:
    """Misses do not end a session that the client named."""
    world = World(max_misses=1)
    asked = talk("Hello", headers={"x-session-id": "s"})
    world.prefers(asked)
    world.answer(asked, **LONG)

    assert world.prefers(asked) is not None


def test_settings_change_what_they_say() -> None:
    assert World(prompt=False).prefers(talk("Hello")) is None
    assert World(session_headers=["X-Chat"], prompt=False).prefers(ask({"x-chat": "1"})) is not None
    assert World(session_headers=[], prompt=False).prefers(ask({"x-session-id": "1"})) is None


def test_mixing_spreads() -> None:
    """Neighbouring numbers fall everywhere."""
    found = Counter(mixed(number) >> 61 for number in range(8000))

    assert len(found) == 8 and max(found.values()) < 1200
