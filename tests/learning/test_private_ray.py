"""A Ray of one's own: used only where there is none, and gone afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from desk.engines.private_ray import private_ray

pytestmark = pytest.mark.cluster

SCRIPT = """
import os
from pathlib import Path
from desk.engines.private_ray import private_ray
with private_ray():
    import ray
    folder, token = Path(os.environ["RAY_TMPDIR"]), Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert ray.is_initialized()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(token.read_text()) == 64 and token.stat().st_mode & 0o777 == 0o600
    assert ray.cluster_resources()["CPU"] == 1.0
assert not ray.is_initialized()
assert not folder.exists()
with private_ray():
    assert ray.get(ray.remote(lambda: 7).remote()) == 7
print(token.parent)
"""


@pytest.mark.usefixtures("ray_session")
def test_a_connected_ray_is_used_and_left_running() -> None:
    before = ray.get_runtime_context().get_job_id()

    with private_ray():
        assert ray.get_runtime_context().get_job_id() == before

    assert ray.is_initialized()


@pytest.mark.timeout(300)  # a busy machine may need several tries to start Ray
def test_a_private_ray_asks_for_a_token_and_leaves_nothing_behind_and_another_may_follow() -> None:
    environment = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}

    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert not Path(ran.stdout.strip()).exists(), "the token ends with the process"
