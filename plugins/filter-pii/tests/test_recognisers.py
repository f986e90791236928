"""What is found in a labelled corpus, how much of it, and what no text can provoke."""

import re
from collections import Counter
from pathlib import Path

import pytest
from llm_gateway_filter_pii.recognisers import KINDS, Finder, recognisers

HERE = Path(__file__).parent
LABEL = re.compile(r"\{\{(\w+):(.*?)\}\}")
NAMES = ("Ada Lovelace", "Jörg Öhm", "Maeve O'Neill", "O'Neill, Maeve")
FINDER = Finder(recognisers(NAMES))


def corpus() -> list[tuple[str, set[tuple[str, str, int]]]]:
    """(text, labels), a label being (kind, value, where it starts)."""
    found = []
    for line in (HERE / "corpus.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        text, labels, at = "", set(), 0
        for match in LABEL.finditer(line):
            text += line[at : match.start()]
            labels.add((match[1], match[2], len(text)))
            text, at = text + match[2], match.end()
        found.append((text + line[at:], labels))
    return found


def measured() -> tuple[dict[str, tuple[int, float, float]], list[str]]:
    """(labels, precision, recall) by kind, and what went wrong."""
    right: Counter[str] = Counter()
    said: Counter[str] = Counter()
    meant: Counter[str] = Counter()
    wrong = []
    for text, labels in corpus():
        hits = {(h.kind, text[h.start : h.end], h.start) for h in FINDER.find(text)}
        right.update(kind for kind, _, _ in hits & labels)
        said.update(kind for kind, _, _ in hits)
        meant.update(kind for kind, _, _ in labels)
        wrong += [f"{each} in {text!r}" for each in hits ^ labels]
    figures = {k: (meant[k], right[k] / max(1, said[k]), right[k] / meant[k]) for k in KINDS}
    return figures, wrong


def test_corpus_precision_and_recall_by_kind() -> None:
    """Spans must be exact. The figures are those of the README's table."""
    figures, wrong = measured()
    readme = (HERE.parent / "README.md").read_text()

    for kind, (labels, precision, recall) in figures.items():
        assert labels >= 5
        assert precision >= 0.85, wrong
        assert recall >= 0.85, wrong
        assert f"| `{kind}` | {labels} | {precision:.2f} | {recall:.2f} |" in readme


@pytest.mark.parametrize(
    "text",
    [
        "a" * 200_000,
        "a@" * 100_000,
        "1 " * 100_000,
        "+1" + " 1" * 100_000,
        "call " + "4111 " * 40_000,
        "::" * 100_000,
        "ada@example.org," * 10_000,
    ],
)
@pytest.mark.timeout(20)
def test_hostile_texts_cost_no_more_than_their_length(text: str) -> None:
    FINDER.find(text)


def test_only_the_chosen_countries() -> None:
    finder = Finder(recognisers(countries=["ES"]))

    assert [each.kind for each in finder.find("12345678Z 131052-308T")] == ["national_id"]
    assert finder.find("131052-308T") == []


def test_the_surer_recogniser_wins_where_two_overlap() -> None:
    """Its digits might be a telephone number too."""
    (hit,) = FINDER.find("call 4111 1111 1111 1111")

    assert hit.kind == "card"
