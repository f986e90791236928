"""A call to a provider as bytes. Knows HTTP/1.1's head and nothing of connections."""

from llm_gateway_api import UpstreamRequest

MAX_KEPT = 256


class Heads:
    """Writes calls; keeps the head of the last one to each URL, for mostly it is the same."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[str, dict[str, str], str, bytes]] = {}

    def wire(self, request: UpstreamRequest) -> tuple[str, bytes]:
        """The origin of `request` and its bytes: head and body in one piece.

        Raises:
            ValueError: a header, the method or the URL holds a line break.
        """
        kept = self._kept.get(request.url)
        if kept is None or kept[0] != request.method or kept[1] != request.headers:
            if len(self._kept) >= MAX_KEPT:
                self._kept.clear()
            origin, head = begun(request)
            kept = (request.method, dict(request.headers), origin, head)
            self._kept[request.url] = kept
        body = request.body
        return kept[2], b"%bcontent-length: %d\r\n\r\n%b" % (kept[3], len(body), body)


def begun(request: UpstreamRequest) -> tuple[str, bytes]:
    """The origin of `request` and all of its head but the length of the body."""
    scheme, _, rest = request.url.partition("://")
    host, _, path = rest.partition("/")
    lines = [f"{request.method} /{path} HTTP/1.1", f"host: {host}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines.append("accept-encoding: identity\r\n")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) or head.count("\r") != len(lines) or "\0" in head:
        raise ValueError("a header of the upstream request holds a line break")
    return f"{scheme}://{host}", head.encode("latin-1")
