"""Work that gives way: whatever trades on the machine goes first."""

import os
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")
LEAST = 19
"""The highest niceness, that is the least share."""


def give_way() -> None:
    with suppress(OSError):
        if os.getsid(0) != os.getpid():
            if os.getpgrp() == os.getpid():
                os.setpgid(0, os.getpgid(os.getppid()))
            os.setsid()
        AUTOGROUP.write_text(str(LEAST))
    if os.environ.get("X_IDLE"):
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):
                os.sched_setscheduler(int(task.name), os.SCHED_IDLE, os.sched_param(0))
    print("GIVEWAY", os.getpid(), os.getsid(0), AUTOGROUP.read_text(), flush=True)
