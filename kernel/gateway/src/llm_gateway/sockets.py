"""Listening sockets: bound here, or handed over by systemd; and who takes connections of which.

Each worker has listening sockets of its own (`SO_REUSEPORT`), so the system spreads
connections evenly; one shared socket would leave nearly all of them to one worker. The
supervisor keeps every socket open: what waits in the queue of a worker that ended is taken by
another one, where a socket of the worker's own would be closed and its queue reset.
"""

import asyncio
import errno
import functools
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

from llm_gateway import proxyheader
from llm_gateway.connection import HttpServer

log = logging.getLogger("llm_gateway.sockets")
BACKLOG = 4096
EXHAUSTED_SECONDS = 1.0  # until connections are taken again
_MENDS = {
    errno.EADDRINUSE: "; end what listens there, or take another with --port and --metrics-port",
    errno.EACCES: "; a port below 1024 takes the capability CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "; this machine does not have that address",
    socket.EAI_NONAME: "; --host and server.host take an address of this machine",
}
FIRST_PASSED = 3  # sd_listen_fds(3): descriptors handed over begin here


@dataclass(frozen=True, slots=True)
class Sockets:
    """Of the main listener, those of each worker in turn; of the metrics page, for all."""

    main: Sequence[Sequence[socket.socket]]
    metrics: Sequence[socket.socket]

    def share(self, slots: Collection[int]) -> list[socket.socket]:
        """The main sockets of these workers, each once."""
        found = {each.fileno(): each for slot in slots for each in self.main[slot]}
        return list(found.values())

    def all(self) -> list[socket.socket]:
        return [*self.share(range(len(self.main))), *self.metrics]

    def close(self) -> None:
        for each in self.all():
            each.close()


def opened(
    host: str, port: int, metrics_port: int, workers: int, environ: MutableMapping[str, str]
) -> Sockets:
    """What systemd handed over, else bound sockets; raises `OSError` naming the address."""
    passed = activated(environ)
    metrics = passed.get("metrics") or bound(host, metrics_port, 1)[0]
    main = passed.get("main")
    if not main:
        try:
            return Sockets(bound(host, port, workers), metrics)
        except OSError:
            Sockets([], metrics).close()
            raise
    if len(main) < workers:
        return Sockets([main] * workers, metrics)
    return Sockets([main[slot::workers] for slot in range(workers)], metrics)


def activated(environ: MutableMapping[str, str]) -> Mapping[str, Sequence[socket.socket]]:
    """The sockets of LISTEN_FDS by their name: ``metrics``; any other name is the main listener.

    The variables are taken out of `environ`, so that no child claims the sockets again.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    found: dict[str, list[socket.socket]] = {}
    for at in range(int(count)):
        name = names[at] if at < len(names) else ""
        handed = socket.socket(fileno=FIRST_PASSED + at)
        handed.setblocking(False)
        os.set_inheritable(handed.fileno(), False)
        found.setdefault("metrics" if name == "metrics" else "main", []).append(handed)
    return found


def bound(host: str, port: int, workers: int) -> list[list[socket.socket]]:
    """Sockets that listen on every address of `host`, for each of `workers`.

    A probe is bound first, without sharing: a port that somebody else serves is refused, where
    `SO_REUSEPORT` alone would share it in silence.
    """
    groups: list[list[socket.socket]] = [[] for _ in range(workers)]
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, address in dict.fromkeys((each[0], each[4]) for each in found):
            with _socket(family) as probe:
                probe.bind(address)
                actual = probe.getsockname()
            for group in groups:
                group.append(_listening(family, actual, workers > 1))
    except OSError as error:
        Sockets(groups, ()).close()
        mend = _MENDS.get(error.errno or 0, "")
        why = f"{host}:{port} cannot be listened on: {error.strerror}{mend}"
        raise OSError(why) from error
    return groups


def _socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def _listening(family: int, address: object, shared: bool) -> socket.socket:
    made = _socket(family)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind(address)  # type: ignore[arg-type]  # what getsockname returned
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


class Listening:
    """Takes connections from some sockets, which may change at any time.

    It works on duplicates: to stop taking is to close those, while the socket stays open.
    Connections from `balancers` begin with a header that names their client.
    """

    def __init__(
        self,
        http: HttpServer,
        tls: ssl.SSLContext | None = None,
        balancers: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = (),
    ) -> None:
        self._http = http
        self._tls = tls
        self._balancers = balancers
        self._servers: dict[int, asyncio.Server | _Balanced] = {}

    async def take(self, sockets: Sequence[socket.socket]) -> None:
        """Take connections from these sockets and from no others."""
        wanted = {each.fileno(): each for each in sockets}
        for number in self._servers.keys() - wanted.keys():
            self._servers.pop(number).close()
        for number, each in wanted.items():
            if number not in self._servers:
                self._servers[number] = await self._server(each.dup())

    async def _server(self, taken: socket.socket) -> "asyncio.Server | _Balanced":
        if self._balancers:
            return _Balanced(taken, self._http, self._tls, self._balancers)
        return await asyncio.get_running_loop().create_server(
            self._http, sock=taken, ssl=self._tls, backlog=BACKLOG
        )


class _Balanced:
    """One socket whose connections may begin with a header of the PROXY protocol."""

    def __init__(
        self,
        taken: socket.socket,
        http: HttpServer,
        tls: ssl.SSLContext | None,
        balancers: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network],
    ) -> None:
        self._socket = taken
        self._http = http
        self._tls = tls
        self._balancers = balancers
        self._opening: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        taken.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Take no more; what was taken is still opened."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._take)

    def _take(self) -> None:
        for _ in range(BACKLOG):
            try:
                taken, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors or memory: what waits, waits
                log.error("connections.exhausted error=%s", error)
                self._loop.remove_reader(self._socket)
                self._loop.call_later(EXHAUSTED_SECONDS, self._listen)
                return
            task = self._loop.create_task(self._open(taken, address[0]))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, taken: socket.socket, address: str) -> None:
        taken.setblocking(False)
        try:
            sender = ipaddress.ip_address(address.partition("%")[0])
            client = None
            if any(sender in each for each in self._balancers):
                client = await proxyheader.client_of(taken)
            await self._loop.connect_accepted_socket(
                functools.partial(self._http, client), taken, ssl=self._tls
            )
        except (proxyheader.ProxyHeaderError, OSError, TimeoutError) as error:
            log.info("connection.refused from=%s error=%s", address, error or "too slow")
            taken.close()
