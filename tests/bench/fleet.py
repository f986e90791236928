"""What shared parts cost and how large a fleet they carry, in one command.

    uv run --all-packages python tests/bench/fleet.py

Starts a Redis and a PostgreSQL, measures each shared operation on them (about a minute and a
half), and reckons fleets of 10, 100 and 1,000 hosts from that. Prints Markdown. `--store` keeps
the costs beside this file, `--stored` reckons with those that were kept.
"""

import argparse
import asyncio
import json
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from costs import Costs, postgres_costs, redis_costs
from footprint import footprint
from llm_gateway_testkit import servers
from model import Fleet, remedies, table
from rig import Rig

STORED = Path(__file__).parent / "costs.json"


def measured() -> Costs:
    with ExitStack() as stack:
        costs = footprint(Rig(stack))
    with servers.redis() as server:
        costs |= asyncio.run(redis_costs(server.url))
    with servers.postgres() as server:
        costs |= asyncio.run(postgres_costs(server.url))
    return {name: round(value, 3) for name, value in costs.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("--store", action="store_true", help="keep the costs")
    arguments.add_argument("--stored", action="store_true", help="reckon with the kept costs")
    arguments.add_argument("--json", type=Path, help="write the costs to this file")
    arguments.add_argument(
        "--rate", type=float, action="append", help="requests/s a host; repeatable [10, 100, 1000]"
    )
    arguments.add_argument("--workers", type=int, default=4, help="workers a host [4]")
    chosen = arguments.parse_args()
    costs: Costs = json.loads(STORED.read_text()) if chosen.stored else measured()
    text = json.dumps(costs, indent=1) + "\n"
    for path in [*([STORED] if chosen.store else []), *([chosen.json] if chosen.json else [])]:
        path.write_text(text)
    print("| cost | |\n| --- | --: |")
    for name, value in costs.items():
        print(f"| {name.replace('_', ' ')} | {value:g} |")
    print()
    for rate in chosen.rate or (10, 100, 1000):
        fleet = partial(Fleet, rate=rate, workers=chosen.workers)
        print("\n".join(table(costs, fleet)))
    print("\n".join(remedies()))


if __name__ == "__main__":
    main()
