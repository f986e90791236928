"""What a plugin brings that records traces: OpenTelemetry's own provider of tracers.

The kernel speaks OpenTelemetry's API alone; an SDK, its exporter and its sampling are the
plugin's.
"""

from typing import Any, Protocol


class TracerProvider(Protocol):
    """`opentelemetry.trace.TracerProvider`, an SDK's for one. It records nothing of a request's
    content. Raising is counted and dropped; with `open` it is a `Service`, and flushes at its
    end."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
    ) -> Any:
        """A tracer of OpenTelemetry's API."""
