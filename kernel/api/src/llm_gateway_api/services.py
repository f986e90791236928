"""What a service does beside its callers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

log = logging.getLogger("llm_gateway_api.services")


@asynccontextmanager
async def alongside(*work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run each of `work` in a task of its own for the length of an ``async with`` block.

    At the end of the block they are cancelled, and it is over when they have ended. One that
    fails ends alone; the log says so at once.
    """

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s.failed", name, exc_info=error)

    tasks = [asyncio.create_task(each, name=name) for each in work]
    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
