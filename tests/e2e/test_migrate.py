"""``llm-gateway migrate`` as an operator uses it, on the embedded store."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path


def migrate(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "llm_gateway", "--json", "migrate", *arguments],
        env={**os.environ, "LLM_GATEWAY_DATA_DIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_run_status_and_revert_on_the_embedded_store(tmp_path: Path) -> None:
    """The plan changes nothing, the run applies it, a revert takes the last one back."""
    plan = json.loads(migrate(tmp_path, "run", "--dry-run").stdout)
    before = json.loads(migrate(tmp_path, "status").stdout)
    done = json.loads(migrate(tmp_path, "run").stdout)
    last = json.loads(migrate(tmp_path, "revert").stdout)
    after = json.loads(migrate(tmp_path, "status").stdout)
    more = json.loads(migrate(tmp_path, "revert", "--steps", "2").stdout)
    with sqlite3.connect(tmp_path / "gateway.db") as database:
        left = database.execute("SELECT COUNT(*) FROM sqlite_master WHERE name = 'budgets'")
        tables = left.fetchone()
    again = json.loads(migrate(tmp_path, "run").stdout)

    assert plan == done
    assert {each["state"] for each in before} == {"pending"}
    assert [each["version"] for each in last] == [done[-1]["version"]]
    assert [each["state"] for each in after][-1] == "pending"
    versions = [each["version"] for each in done]
    assert [each["version"] for each in more] == versions[-2:-4:-1]
    assert tables == (1,)
    assert [each["version"] for each in again] == versions[-3:]


def test_create_writes_a_file_for_each_database(tmp_path: Path) -> None:
    made = json.loads(migrate(tmp_path, "create", "add_colour").stdout)

    assert [Path(each).parent.name for each in made] == ["postgresql", "sqlite"]
    assert "-- migrate:up" in (tmp_path / made[0]).read_text()
    assert migrate(tmp_path, "create", "No Good").returncode == 2
