"""The measures. Each returns rows: a name and its figures; ratios are to the bare relay."""

import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from rig import CORES, Rig, System, answers
from scenarios import BUDGET, MANY_MODELS, TENANT, Scenario, chat

Row = dict[str, float]
Rows = dict[str, Row]


def at(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def cpu(rig: Rig, scenario: Scenario, rounds: int) -> Rows:
    """CPU time a request in a closed loop of 32 clients, rounds interleaved, medians."""
    gateway = rig.gateway(scenario.config, scenario.plugins)
    if scenario.stored:
        gateway.admit(TENANT, BUDGET)
    yardstick = gateway if scenario.own_lane else rig.relay
    pairs = [(yardstick, scenario.relayed, "bare relay"), (gateway, scenario.request, "gateway")]
    costs: dict[str, list[float]] = {"bare relay": [], "gateway": []}
    rates: dict[str, list[float]] = {"bare relay": [], "gateway": []}
    failed = 0
    for number in range(-1, rounds):  # the first round warms up
        for system, body, name in pairs if number % 2 else pairs[::-1]:
            path = scenario.path if name == "gateway" else scenario.relayed_path
            total = scenario.total if number >= 0 else scenario.total // 5
            before = system.process.cpu()
            job = scenario.job if name == "gateway" else {}
            found = rig.load(system, body, path=path, clients=32, total=total, **job)
            if number >= 0:
                costs[name].append((system.process.cpu() - before) * 1000 / total)
                rates[name].append(total / found["seconds"])
                failed += found["failed"]
    each = [
        ours / theirs for ours, theirs in zip(costs["gateway"], costs["bare relay"], strict=True)
    ]
    row = {
        "cpu_ms": median(costs["gateway"]),
        "relay_cpu_ms": median(costs["bare relay"]),
        "per_core": 1000 / median(costs["gateway"]),
        "relay_per_core": 1000 / median(costs["bare relay"]),
        "per_second": median(rates["gateway"]),
        "failed": failed,
        "ratio": median(each),
    }
    return {f"CPU: {scenario.name}": row | ({"target": scenario.target} if scenario.target else {})}


def workers(rig: Rig, scenario: Scenario, rounds: int) -> Rows:
    """The same closed loop with one worker and with two, rounds alternating, on all cores.

    Load and provider have no core of their own, so requests a second say what such a machine
    does with them on it; `gain_without_load` is what two workers do for one where they are
    elsewhere, by the CPU time of a request alone.
    """
    with ExitStack() as stack:
        stack.enter_context(rig.unpinned())
        systems = []
        for many in (1, 2):
            system, process = rig.spawn(
                stack, scenario.config, scenario.plugins, workers=many, cores=CORES
            )
            process.wait_for(system.port)
            if scenario.stored:
                system.admit(TENANT, BUDGET)
            systems.append(system)
        found: list[list[Row]] = [[], []]
        for number in range(-1, rounds):  # the first round warms up
            for many, system in list(enumerate(systems))[:: 1 if number % 2 else -1]:
                row = _one_round(rig, system, scenario, number)
                if number >= 0:
                    found[many].append(row)
    one, two = ({key: median(row[key] for row in each) for key in each[0]} for each in found)
    pairs = list(zip(*found, strict=True))
    figures = {f"{key}_{many}": row[key] for many, row in ((1, one), (2, two)) for key in row}
    return {
        f"workers: {scenario.name}": {
            **figures,
            "gain": median(b["per_second"] / a["per_second"] for a, b in pairs),
            "gain_without_load": median(2 * a["cpu_ms"] / b["cpu_ms"] for a, b in pairs),
        }
    }


def _one_round(rig: Rig, system: System, scenario: Scenario, number: int) -> Row:
    total = scenario.total if number >= 0 else scenario.total // 5
    ours, driving = system.process.cpu(), rig.driving()
    found = rig.load(system, scenario.request, path=scenario.path, clients=64, total=total)
    ours, driving = system.process.cpu() - ours, rig.driving() - driving
    return {
        "per_second": total / found["seconds"],
        "cpu_ms": ours * 1000 / total,
        "driving_ms": driving * 1000 / total,
        "cores": (ours + driving) / found["seconds"],
        "failed": found["failed"],
    }


def latency(rig: Rig, rounds: int) -> Rows:
    """Latency at a fixed rate, open loop, less that of a direct call."""
    rows: Rows = {}
    # asked for by the client, or the gateway would hold back the event that it asked for
    with_usage = {**chat(True, "gpt-gap-10"), "stream_options": {"include_usage": True}}
    parts = (
        ("latency: plain at 100/s", chat(), 100, 2.5),
        ("latency: stream at 20/s, 10 ms apart", with_usage, 20, 2.0),
    )
    systems = (rig.direct, rig.relay, rig.gateway())
    for name, body, rate, seconds in parts:
        found: dict[str, dict[str, list[float]]] = {each.name: {} for each in systems}
        for number in range(rounds):
            for system in systems[number % 3 :] + systems[: number % 3]:
                result = rig.load(system, body, rate=rate, seconds=seconds)
                for key in ("first", "last", "gaps"):
                    found[system.name].setdefault(key, []).extend(result[key])
        measures = (
            {"": ("last", (0.5, 0.95, 0.99))}
            if "stream" not in name
            else {"first content ": ("first", (0.5, 0.95, 0.99)), "gap ": ("gaps", (0.5, 0.99))}
        )
        for prefix, (key, shares) in measures.items():
            for share in shares:
                direct, relay, ours = (at(found[each.name][key], share) for each in systems)
                rows[f"{name}, {prefix}p{share * 100:.0f}"] = {
                    "direct_ms": direct,
                    "relay_added_ms": relay - direct,
                    "added_ms": ours - direct,
                    "ratio_of_totals": ours / relay,
                }
    return rows


def at_full_rate(rig: Rig, rounds: int) -> Rows:
    """What 10,000 requests/s on 8 cores is for one core: 1,250/s, open loop."""
    shares: dict[str, list[float]] = {}
    lasts: dict[str, list[float]] = {}
    failed = 0
    for _ in range(rounds):
        for system in (rig.relay, rig.gateway()):
            before, start = system.process.cpu(), time.perf_counter()
            found = rig.load(system, chat(), rate=1250, seconds=2.5)
            share = (system.process.cpu() - before) / (time.perf_counter() - start)
            shares.setdefault(system.name, []).append(share)
            lasts.setdefault(system.name, []).extend(found["last"])
            failed += found["failed"] if system.name == "gateway" else 0
    ours, relay = median(shares["gateway"]), median(shares["bare relay"])
    return {
        "1,250/s on one core": {
            "cpu_share": ours,
            "relay_cpu_share": relay,
            "p50_ms": at(lasts["gateway"], 0.5),
            "p95_ms": at(lasts["gateway"], 0.95),
            "p99_ms": at(lasts["gateway"], 0.99),
            "relay_p50_ms": at(lasts["bare relay"], 0.5),
            "relay_p99_ms": at(lasts["bare relay"], 0.99),
            "error_rate": failed / len(lasts["gateway"]),
            "ratio": ours / relay,
        }
    }


def memory(rig: Rig) -> Rows:
    """Resident memory: idle, after load, with 1,000 streams open."""
    with ExitStack() as stack:
        system, process = rig.spawn(stack)
        process.wait_for(system.port)
        idle = process.rss()
        rig.load(system, chat(), clients=32, total=3000)
        loaded = process.rss()
        ours, failed = _with_streams(rig, system)
    relay, _ = _with_streams(rig, rig.relay)
    return {
        "memory, MB": {
            "idle": idle,
            "after_3000_requests": loaded,
            "with_1000_streams": ours,
            "relay_with_1000_streams": relay,
            "failed": failed,
            "ratio": ours / relay,
        }
    }


def _with_streams(rig: Rig, system: System) -> tuple[float, int]:
    body = chat(True, "gpt-gap-80")
    rig.start(system, [body], "/v1/chat/completions", clients=1000, total=1000)
    highest = 0.0
    watched = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not watched.wait(0.1):
            highest = max(highest, system.process.rss())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        found = rig.result()
    finally:
        watched.set()
        watcher.join()
    return highest, int(found["failed"])


def starting(rig: Rig) -> Rows:
    """From the command to the first 200, and `--help`; the quickest of three."""
    first = []
    for _ in range(3):
        with ExitStack() as stack:
            start = time.perf_counter()
            system, process = rig.spawn(stack)
            process.wait_for(system.port)
            while not answers(system.port, chat()):
                time.sleep(0.005)
            first.append(time.perf_counter() - start)
    command = [str(Path(sys.executable).with_name("llm-gateway")), "--help"]
    helped = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        helped.append(time.perf_counter() - start)
    return {"start, seconds": {"first_200": min(first), "help": min(helped)}}


def scrape(rig: Rig) -> Rows:
    """Latency at 100/s while the page of thousands of series is read five times a second."""
    gateway = rig.gateway(MANY_MODELS)
    models = [chat(model=f"gpt-{number}") for number in range(2000)]
    rig.load(gateway, *models, clients=32, total=2000)
    url = f"http://127.0.0.1:{gateway.metrics_port}/metrics"
    quiet: list[float] = []
    scraped: list[float] = []
    pages: list[tuple[float, bytes]] = []
    stopped = threading.Event()

    def read() -> None:
        while not stopped.wait(0.2):
            start = time.perf_counter()
            with urllib.request.urlopen(url, timeout=10) as page:
                text = page.read()
            pages.append((time.perf_counter() - start, text))

    for _ in range(2):
        quiet += rig.load(gateway, chat(), rate=100, seconds=2)["last"]
        stopped.clear()
        reader = threading.Thread(target=read)
        reader.start()
        try:
            scraped += rig.load(gateway, chat(), rate=100, seconds=2)["last"]
        finally:
            stopped.set()
            reader.join()
    return {
        "metrics page under load": {
            "series": sum(line[:1] != b"#" for line in pages[-1][1].splitlines()),
            "page_ms": median(page[0] for page in pages) * 1000,
            "p50_ms": at(scraped, 0.5),
            "p99_ms": at(scraped, 0.99),
            "p50_ms_without": at(quiet, 0.5),
            "p99_ms_without": at(quiet, 0.99),
            "longest_ms": max(scraped),
            "longest_ms_without": max(quiet),
        }
    }


def rounded(rows: Rows) -> Rows:
    return {
        name: {key: round(value, 4) for key, value in row.items()} for name, row in rows.items()
    }
