"""The benchmark, in one command: `uv run --all-packages python tests/bench/run.py`.

Loopback only, bounded, ends by itself after about five minutes. The gateway with keys,
rules, metrics, log line and usage counts on, against a bare aiohttp relay and a direct
call, interleaved in one run. Prints a Markdown table; compare rows of one run only.

`--store` keeps the result as the baseline, `--compare` tells which ratios got worse than
the baseline's by more than `--tolerance` and exits with 1 if any did.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import measure
from report import markdown, worse
from rig import CORES, Rig
from scenarios import SCALED, SCENARIOS

BASELINE = Path(__file__).parent / "baseline.json"


def parts(rig: Rig, rounds: int) -> dict[str, Callable[[], measure.Rows]]:
    """Everything that is measured, by the name that `--only` takes."""
    few = max(2, rounds // 2)
    return {
        **{each.name: partial(measure.cpu, rig, each, rounds) for each in SCENARIOS},
        "latency": lambda: measure.latency(rig, few),
        "full rate": lambda: measure.at_full_rate(rig, few),
        "memory": lambda: measure.memory(rig),
        "start": lambda: measure.starting(rig),
        "scrape": lambda: measure.scrape(rig),
        **{
            f"workers, {each.name}": partial(measure.workers, rig, each, rounds)
            for each in SCENARIOS
            if each.name in SCALED
        },
    }


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("--rounds", type=int, default=7, help="rounds of each CPU row")
    arguments.add_argument(
        "--only", action="append", help="a part or scenario, * for any; repeatable"
    )
    arguments.add_argument("--store", action="store_true", help="keep as the baseline")
    arguments.add_argument("--compare", action="store_true", help="with the baseline")
    arguments.add_argument("--tolerance", type=float, default=0.15, help="a share of the ratio")
    arguments.add_argument("--json", type=Path, help="write the result to this file")
    chosen = arguments.parse_args()
    started = time.perf_counter()
    rows: measure.Rows = {}
    with ExitStack() as stack:
        for name, part in parts(Rig(stack), chosen.rounds).items():
            part_of = "workers" if name.startswith("workers") else name
            if chosen.only and not any(
                fnmatchcase(n, o) for n in (name, part_of) for o in chosen.only
            ):
                continue
            rows |= measure.rounded(part())
            print(f"{time.perf_counter() - started:6.1f} s  {name}", file=sys.stderr)
    result = {"python": sys.version.split()[0], "cores": len(CORES), "rows": rows}
    text = json.dumps(result, indent=1) + "\n"
    for path in [*([BASELINE] if chosen.store else []), *([chosen.json] if chosen.json else [])]:
        path.write_text(text)
    print(markdown(result))
    if not chosen.compare:
        return 0
    found = worse(rows, json.loads(BASELINE.read_text())["rows"], chosen.tolerance)
    print("\n".join(found) or f"No ratio is worse by more than {chosen.tolerance:.0%}.")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
