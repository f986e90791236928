"""What the search for personal data costs, by what stands in 2 KB of text.

    uv run --all-packages python tests/bench/pii.py

Microseconds for each text, median of rounds.
"""

import json
from statistics import median
from time import perf_counter

from llm_gateway_filter_pii.recognisers import Finder, recognisers

ROUNDS, TIMES, SIZE = 9, 200, 2048
PROSE = "The tide comes in twice a day, and the quiet boats in the harbour rise with it. "
LOG = "2026-11-24 22:12:40 build 20261124 took 12.5 s, order 12-345 of 10.0.0.7 failed 3 times; "
FOUND = " ada@example.org paid with 4111 1111 1111 1111, call +49 30 901820."


def text(of: str, end: str = "") -> str:
    return (of * SIZE)[: SIZE - len(end)] + end


def measured(finder: Finder, given: str) -> float:
    rounds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        for _ in range(TIMES):
            finder.find(given)
        rounds.append((perf_counter() - start) / TIMES * 1e6)
    return round(median(rounds), 1)


if __name__ == "__main__":
    found = Finder(recognisers([f"First{at} Last{at}" for at in range(100)]))
    cases = {"prose": text(PROSE), "log lines": text(LOG), "three hits": text(PROSE, FOUND)}
    for name, given in cases.items():
        print(json.dumps({"text": name, "bytes": len(given), "us": measured(found, given)}))
