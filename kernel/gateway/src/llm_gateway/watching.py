"""Files that are replaced or written while the gateway runs."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

WATCH_SECONDS = 1.0


async def changes(*paths: Path) -> AsyncIterator[None]:
    """Yield whenever one of `paths` differs (its time, inode or size) and all can be read."""
    seen = [_stamp(each) for each in paths]
    while paths:
        await asyncio.sleep(WATCH_SECONDS)
        now = [_stamp(each) for each in paths]
        if now != seen and None not in now:
            seen = now
            yield


class HeldFile(type(Path())):  # type: ignore[misc]  # PosixPath or WindowsPath
    """A file as it was: its text is `held`, where its folder is still the real one."""

    held: str | None = None

    def read_text(self, *args: Any, **kwargs: Any) -> str:
        """The text held; of a file that was derived from this one, its own."""
        return self.held if self.held is not None else str(super().read_text(*args, **kwargs))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
