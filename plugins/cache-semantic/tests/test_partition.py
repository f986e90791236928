"""A partition finds what a look at every answer would find, whatever came and went before."""

import llm_gateway_api as gw
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_cache_semantic.partition import MOST_LOOKED_AT, Kept, Partition, Vector

ANSWER = gw.CachedAnswer((gw.Finished("stop"),), "m", "p", "m", None, 1.0)
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "remove", "expire"]), st.integers(0, 12), st.integers(0, 7))
)


def vector(number: int, size: int = 8) -> Vector:
    """One of some directions, of which neighbours are alike."""
    found = np.ones(size, dtype=np.float32)
    found[number % size] += 2.0
    return found / np.float32(np.linalg.norm(found))


def kept(key: int, number: int, expires: float = 10.0) -> Kept:
    return Kept(str(key), "t", f"text {number}", vector(number), ANSWER, expires)


def alike(partition: Partition, asked: Vector, threshold: float, now: float = 0.0) -> list[Kept]:
    return partition.alike(asked, threshold, partition.places(asked, threshold), now)


@given(STEPS, st.integers(0, 7), st.sampled_from([0.5, 0.9, 0.999]))
def test_it_agrees_with_a_look_at_every_answer(
    steps: list[tuple[str, int, int]], asked: int, threshold: float
) -> None:
    partition, all_of_them = Partition(), dict[str, Kept]()
    for step, key, number in steps:
        if step == "remove":
            assert partition.remove(str(key)) == (all_of_them.pop(str(key), None) is not None)
            continue
        each = kept(key, number, -1.0 if step == "expire" else 10.0)
        partition.put(each)
        all_of_them.pop(each.key, None)
        all_of_them[each.key] = each
    wanted = {
        each.key
        for each in all_of_them.values()
        if each.expires > 0 and float(each.vector @ vector(asked)) >= threshold
    }
    found = alike(partition, vector(asked), threshold)
    scores = [float(each.vector @ vector(asked)) for each in found]

    assert [each.key for each in partition] == list(all_of_them)
    assert len(partition) == len(all_of_them)
    assert {each.key for each in found} == wanted
    assert scores == sorted(scores, reverse=True)


def test_of_many_that_are_alike_the_likest_are_looked_at() -> None:
    """A form that differs in a number is alike to all that were asked with it before."""
    partition = Partition()
    for number in range(500):
        partition.put(kept(number, 1))
    partition.put(kept(1000, 0))

    found = alike(partition, vector(0), 0.5)
    assert len(found) == MOST_LOOKED_AT
    assert found[0].key == "1000"


def test_another_model_begins_anew() -> None:
    """Vectors of two lengths have nothing to do with each other."""
    partition = Partition()
    partition.put(kept(1, 1))
    asked = vector(1, 16)
    before = alike(partition, asked, 0.5)
    partition.put(Kept("2", "t", "text", asked, ANSWER, 10.0))

    assert before == []
    assert [each.key for each in alike(partition, asked, 0.5)] == ["2"]
    assert len(partition) == 1


def test_a_place_that_was_given_away_meanwhile_is_looked_at_anew() -> None:
    partition = Partition()
    partition.put(kept(1, 1))
    places = partition.places(vector(1), 0.99)
    partition.remove("1")
    partition.put(kept(2, 5))

    assert partition.alike(vector(1), 0.99, places, 0.0) == []
