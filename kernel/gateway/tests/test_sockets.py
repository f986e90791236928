"""Which sockets a process listens on."""

import os
import socket
import subprocess
import sys

import pytest
from llm_gateway.sockets import activated, bound

HANDED = """
import os, sys, socket
from llm_gateway.sockets import activated
os.environ["LISTEN_PID"] = str(os.getpid())
found = activated(os.environ)
print({name: [each.getsockname()[1] for each in some] for name, some in sorted(found.items())})
print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""


def test_each_worker_gets_a_socket_of_its_own_on_one_port() -> None:
    groups = bound("127.0.0.1", 0, 3)
    ports = {each.getsockname()[1] for group in groups for each in group}
    numbers = {each.fileno() for group in groups for each in group}

    assert (len(groups), len(ports), len(numbers)) == (3, 1, 3)
    for group in groups:
        for each in group:
            each.close()


def test_a_port_that_others_share_is_refused_all_the_same() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match=r"cannot be listened on: .*take another with --port"):
            bound("127.0.0.1", other.getsockname()[1], 2)


def test_sockets_of_systemd_are_taken_by_name_and_not_left_to_children() -> None:
    """sd_listen_fds(3): descriptors from 3 on, names in LISTEN_FDNAMES."""
    with (
        socket.create_server(("127.0.0.1", 0)) as api,
        socket.create_server(("127.0.0.1", 0)) as metrics,
    ):
        ports = api.getsockname()[1], metrics.getsockname()[1]
        script = 'exec 3<&"$A" 4<&"$B"; exec "$0" -c "$1"'
        run = subprocess.run(
            ["bash", "-c", script, sys.executable, HANDED],
            env={
                **os.environ,
                "A": str(api.fileno()),
                "B": str(metrics.fileno()),
                "LISTEN_FDS": "2",
                "LISTEN_FDNAMES": "gateway:metrics",
            },
            pass_fds=[api.fileno(), metrics.fileno()],
            capture_output=True,
            text=True,
        )

    assert run.stdout.splitlines() == [
        str({"main": [ports[0]], "metrics": [ports[1]]}),
        "[]",
    ], run.stderr


def test_sockets_meant_for_another_process_are_left_alone() -> None:
    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}

    assert activated(environ) == {}
