"""Trading on a Ray of several nodes: what a node takes along when it goes, and that no order is doubled."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.nightly, pytest.mark.timeout(1_200)]


@pytest.mark.catalogue("I17")
def test_trading_moves_from_a_node_that_dies_or_hangs_to_another_and_no_order_is_doubled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.nodes.scenario"],
        capture_output=True,
        text=True,
        timeout=1_100,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-4_000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"event')]
    with capsys.disabled():
        print("", *told, sep="\n")
    assert [each["event"] for each in told] == ["killed", "cut off", "judged"]
    assert told[-1]["orders"]["filled"] >= 4
