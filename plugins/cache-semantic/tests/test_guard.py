"""What two questions must share: no answer crosses a number, a name, a negation or an opposite."""

import pytest
from llm_gateway_cache_semantic.guard import agree

SAME = [
    ("How do I reset my password?", "how can I reset my password"),
    ("What is the capital of France?", "Tell me the capital of France."),
    ("Translate 'good morning' into Spanish", "translate 'good morning' to Spanish, please"),
    ("Explain how a bloom filter works.", "Could you explain how bloom filters work?"),
    ("Convert 25 km into miles", "what are 25 km in miles?"),
    ("Why is the sky blue?", "What makes the sky blue?"),
]
NEAR = [
    ("What is the capital of France?", "What is the capital of Germany?"),
    ("Convert 100 USD to euros", "Convert 500 USD to euros"),
    ("How do I install the package?", "How do I uninstall the package?"),
    ("Which foods are good for dogs?", "Which foods are not good for dogs?"),
    ("Can I travel with a visa?", "Can I travel without a visa?"),
    ("List the flights before noon", "List the flights after noon"),
    ("Translate 'yes' into German", "Translate 'no' into German"),
    ("Who won in 2020?", "Who won in 2021?"),
    ("How do I enable logging?", "How do I disable logging?"),
    ("Name two rivers in Spain", "Name three rivers in Spain"),
    ("Is it safe to drink?", "Isn't it safe to drink?"),
    ("Sort the list in ascending order", "Sort the list in descending order"),
    ("How old is Barack Obama?", "How old is Michelle Obama?"),
    ("What does HTTP 404 mean?", "What does HTTP 403 mean?"),
    ("How to encrypt a file?", "How to decrypt a file?"),
    ("Is the meeting at 10:30?", "Is the meeting at 10:45?"),
    ("Does the dog bite the man?", "Does the man bite the dog?"),
    ("Which plan is cheapest?", "Which plan is most expensive?"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_question_in_other_words_agrees(one: str, other: str) -> None:
    assert agree(one, other)
    assert agree(other, one)


@pytest.mark.parametrize(("one", "other"), NEAR)
def test_a_near_miss_does_not(one: str, other: str) -> None:
    assert not agree(one, other)
    assert not agree(other, one)
