"""What the servers that gateways share say of their own work: CPU time, calls, bytes.

CPU time is what a server used, whatever else the machine does meanwhile, so a busy machine
moves it little.
"""

from pathlib import Path
from typing import Any

import psycopg
import redis
from rig import seconds_of


class RedisMeter:
    """Redis's one thread that runs commands: its CPU, and the commands it was given."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url)

    def read(self) -> dict[str, float]:
        cpu: Any = self.client.info("cpu")
        stats: Any = self.client.info("stats")
        commands: Any = self.client.info("commandstats")

        def calls(name: str) -> float:
            return float(commands.get(f"cmdstat_{name}", {}).get("calls", 0))

        return {
            "cpu_us": 1e6 * (cpu["used_cpu_sys_main_thread"] + cpu["used_cpu_user_main_thread"]),
            "commands": float(stats["total_commands_processed"]),
            "scripts": calls("evalsha"),
            "published": calls("publish"),
            "bytes": float(stats["total_net_input_bytes"] + stats["total_net_output_bytes"]),
        }


class PostgresMeter:
    """All of PostgreSQL's processes: their CPU, its transactions and its log of changes."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        pid = self._connection.info.backend_pid
        stat = Path(f"/proc/{pid}/stat").read_text()
        self._server = int(stat.rpartition(")")[2].split()[1])  # its parent

    def one(self, sql: str) -> float:
        row = self._connection.execute(sql.encode()).fetchone()
        assert row is not None
        return float(row[0])

    def run(self, sql: str) -> None:
        self._connection.execute(sql.encode())

    def read(self) -> dict[str, float]:
        """Counters of transactions lag a little; wait a second after the last of them."""
        return {
            "cpu_us": seconds_of(self._server) * 1e6,
            "transactions": self.one(
                "SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database"
            ),
            "log_bytes": self.one("SELECT pg_current_wal_insert_lsn() - '0/0'"),
        }


def passed(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - value for name, value in before.items()}
