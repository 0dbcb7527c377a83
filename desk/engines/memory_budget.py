"""How much memory one learning process may have: a training that grows fails, and trading stays."""

import os
import resource
from pathlib import Path

FRACTION = 0.5
"""Of what the machine, or the container, has."""
LEAST_SHARE_BYTES = 4 << 30
"""A training process has this much private data in its address space before it grows."""
LIGHT_MEMORY_BYTES = 3 << 30
"""Below this much free memory one policy replica has to do."""
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def budget_bytes(machine_bytes: int, container: str) -> int:
    """The budget, from the machine's memory and the text of the container's limit (`max`: none)."""
    limit = int(container) if container.strip().isdigit() else machine_bytes
    return int(FRACTION * min(limit, machine_bytes))


def free_memory_bytes() -> int:
    """Memory that a new process may take, as the kernel estimates it; plenty where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return LIGHT_MEMORY_BYTES + 1
    rows = dict(line.split(":", 1) for line in lines)
    return int(rows["MemAvailable"].split()[0]) * 1024


def limit_memory(shares: int = 1) -> int:
    """Let this process be refused memory beyond its share of the budget; returns that, in bytes.

    The refusal is a `MemoryError` in this process alone, where the kernel would otherwise choose
    whom to kill. The limit is on private data, so mapped candles and Ray's shared store do not count.
    `shares` is how many processes may grow at once; none gets less than `LEAST_SHARE_BYTES`.
    """
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        container = CONTAINER_LIMIT.read_text()
    except OSError:
        container = ""
    budget = budget_bytes(machine_bytes, container)
    most = min(budget, max(budget // shares, LEAST_SHARE_BYTES))
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    return most
