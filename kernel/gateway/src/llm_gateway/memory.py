"""What the garbage collector looks at, and what of the memory never reaches a disk."""

import gc
import resource

YOUNG = 10_000  # objects between two collections: a request leaves no cycles behind


def no_core_files() -> None:
    """From now on a crash of this process, or of one that it starts, leaves no image of its
    memory, which holds keys and prompts. `prlimit` brings it back."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def settle_memory() -> None:
    """Take what lives now out of the collector's sight.

    A full collection that walks the code and the configuration stops requests for tens of
    milliseconds.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)
