"""Vendors' usage files are read as they are, and compared to the last token."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from llm_gateway_ledger_store.usagefile import Usage, UsageFileError, differences, model_of, read
from llm_gateway_testkit.gateway import API_KEY, running_gateway
from llm_gateway_testkit.rawclient import call

ANTHROPIC = """usage_date_utc,model_version,usage_input_tokens_no_cache,\
usage_input_tokens_cache_read,usage_output_tokens
2026-03-01,claude-x-20250101,"1,000",500,7
2026-03-01,claude-x-20250101,1,,3
2026-03-02,claude-x-20250101,2,0,4
"""
OPENAI = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": 1772323200,
            "results": [
                {"model": "gpt-x-2025-01-02", "input_tokens": 10, "num_model_requests": 2},
                {"model": "gpt-y", "input_tokens": 5, "num_model_requests": 1},
            ],
        }
    ],
}


def ledger(*rows: tuple[str, str, dict[str, str]]) -> Usage:
    made = Usage()
    for day, model, amounts in rows:
        made.add((day, model), {name: Decimal(each) for name, each in amounts.items()})
    return made


def test_columns_that_stand_for_one_sum_are_added() -> None:
    found = read("\ufeff" + ANTHROPIC, {})

    assert found.measured == ("input", "output")
    assert found.sums["2026-03-01", "claude-x"]["input"] == 1501
    assert found.sums["2026-03-02", "claude-x"]["output"] == 4


def test_buckets_of_a_page_are_read() -> None:
    found = read(json.dumps(OPENAI), {})

    assert found.measured == ("requests", "input")
    assert found.sums["2026-03-01", "gpt-x"] == {
        "requests": 2,
        "input": 10,
        "output": 0,
        "cost_usd": 0,
    }


def test_money_in_an_object_is_exact() -> None:
    text = '[{"date": "2026-03-01T23:30:00-02:00", "amount": {"value": 0.1, "currency": "usd"}}]'
    assert read(text, {}).sums == {
        ("2026-03-02", "-"): {
            "requests": 0,
            "input": 0,
            "output": 0,
            "cost_usd": Decimal("0.1"),
        }
    }


def test_unknown_columns_can_be_named() -> None:
    found = read("WHEN,tok\n2026-03-01,5\n", {"day": "WHEN", "input": "tok"})
    assert found.sums["2026-03-01", "-"]["input"] == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no rows"),
        ("a,b\n1,2\n", "--column day"),
        ("day,b\n2026-01-01,2\n", "tokens or cost"),
        ("day,cost\nyesterday,2\n", "row 1: 'yesterday'"),
        ("day,cost\n2026-01-01,much\n", "cost is no number"),
        ("{", "no JSON"),
        ("[1]", "list of objects"),
    ],
)
def test_a_file_that_cannot_be_compared_says_why(text: str, says: str) -> None:
    with pytest.raises(UsageFileError, match=says):
        read(text, {})


def test_each_difference_is_named() -> None:
    """What only one side has differs too; days outside the file are not judged."""
    vendor = read("day,model,input_tokens,cost\n2026-03-01,a,100,1\n2026-03-02,b,5,0\n", {})
    ours = ledger(
        ("2026-02-28", "a", {"input": "9"}),
        ("2026-03-01", "a", {"input": "99", "cost_usd": "1"}),
        ("2026-03-02", "c", {"input": "1"}),
    )

    rows, good = differences(vendor, ours, Decimal(0))
    within, fine = differences(vendor, ledger(("2026-03-01", "a", {"input": "99"})), Decimal(2))

    assert [(each["model"], each["differs"]) for each in rows] == [
        ("a", "input"),
        ("b", "input"),
        ("c", "input"),
    ]
    assert rows[0]["vendor_input"] == "100" and not good
    assert fine and len(within) == 2


@pytest.mark.parametrize(
    ("name", "model"),
    [("gpt-x-2025-01-02", "gpt-x"), ("claude-3-5-x-20241022", "claude-3-5-x"), ("m-7b", "m-7b")],
)
def test_a_snapshot_is_its_model(name: str, model: str) -> None:
    assert model_of(name) == model


async def test_a_vendors_file_is_compared_with_a_real_ledger(tmp_path: Path) -> None:
    """Exit code 0 while they agree, 1 and the row where they do not."""
    admin = "admin-key-0123456789abcdef"
    config = {
        "providers": {"sim": {"kind": "simulated"}},
        "plugins": {"ledger_store": {"ship_seconds": 0.1}},
    }
    body = {"model": "simulated", "messages": [{"role": "user", "content": "count these"}]}
    file = tmp_path / "usage.csv"
    async with running_gateway(config, {"LLM_GATEWAY_ADMIN_KEY": admin}) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        answers = [(await call(url, body, key=API_KEY)).json["usage"] for _ in range(3)]
        asked = sum(each["prompt_tokens"] for each in answers)
        async with asyncio.timeout(20):
            while True:
                report = await call(f"{gateway.url}/admin/v1/token-usage", key=admin)
                if sum(each["requests"] for each in report.json["rows"]) == 3:
                    break
                await asyncio.sleep(0.05)
        codes = []
        for tokens in (asked, asked + 1):
            day = datetime.now(UTC).strftime("%Y-%m-%d")
            file.write_text(f"date,model,requests,prompt_tokens\n{day},simulated,3,{tokens}\n")
            whole = [sys.executable, "-m", "llm_gateway", "--json", "-u", gateway.url, "-k", admin]
            done = await asyncio.to_thread(
                subprocess.run,
                [*whole, "reconcile", str(file), "-p", "sim"],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            codes.append((done.returncode, json.loads(done.stdout)[0]["differs"]))

    assert codes == [(0, "-"), (1, "input")]
