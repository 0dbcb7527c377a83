"""A learning process stands behind trading, whatever session and group it was started in."""

import sys
from pathlib import Path

import pytest

from desk.engines.learning_process import AUTOGROUP, NICENESS, TURN_NS
from tests.processes import said_by

GIVES_WAY = """
import os
from desk.engines import learning_process

before = os.getsid(0) == os.getpid()
learning_process.give_way()
learning_process.give_way()
group = learning_process.AUTOGROUP
print(before, os.getsid(0) == os.getpid(), os.getpriority(os.PRIO_PROCESS, 0))
print(group.read_text().split()[-1] if group.exists() else "")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sessions share a CPU only there")
@pytest.mark.parametrize(
    "started",
    [{}, {"process_group": 0}, {"start_new_session": True}],
    ids=["as a child", "as the head of a group", "as the head of a session"],
)
def test_a_learner_has_a_session_of_its_own_with_the_least_share(
    started: dict[str, object],
) -> None:
    began_alone, has_session, niceness, *group = said_by(GIVES_WAY, **started).split()

    assert began_alone == str("start_new_session" in started)
    assert (has_session, niceness) == ("True", str(NICENESS))
    assert group == ([str(NICENESS)] if AUTOGROUP.exists() else [])


TURNS = """
import threading
from pathlib import Path
from desk.engines import learning_process

def turns():
    rows = [(Path("/proc/self/task") / str(threading.get_native_id()) / "sched").read_text()]
    return [row.split()[-1] for row in rows[0].splitlines() if row.startswith("se.slice")]

learning_process.give_way()
found = [turns()]
later = threading.Thread(target=lambda: found.append(turns()))
later.start()
later.join()
print(found)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or "se.slice" not in Path("/proc/self/sched").read_text(),
    reason="this kernel does not say how long a turn is",
)
def test_every_thread_of_a_learner_takes_the_shortest_turns() -> None:
    assert said_by(TURNS).strip() == str([[str(TURN_NS)]] * 2)
