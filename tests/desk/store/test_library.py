"""The function library, and that nobody changes money beside it."""

import re
from pathlib import Path

from desk.store.library import library
from desk.trading.orders import TERMINAL, TRANSITIONS

ROOT = Path(__file__).parents[3]
READS = re.compile(
    r"close|config_get|connection_pool|execute|fcall|fcall_ro|function_load|hget|hgetall|hmget"
    r"|info|ping|pipeline|xinfo_stream|xrange|xread|xtrim|zrangebyscore|zrevrange|zrevrangebyscore"
)
"""What the adapter may call besides the functions: it changes nothing but how long a stream is."""


def test_the_table_of_legal_moves_is_the_one_of_the_order_machine():
    found = re.search(r"local LEGAL = \{ (.*) \}", library().source)
    assert found is not None
    legal = set(re.findall(r"\['([a-z_]+>[a-z_]+)'\]=true", found.group(1)))

    expected = {f"{a.value}>{b.value}" for a, targets in TRANSITIONS.items() for b in targets}
    assert legal == expected
    for state in TERMINAL:
        assert f"['{state.value}']=true" in library().source


def test_the_digest_follows_the_source():
    assert len(library().digest) == 16
    assert library().digest in library().source


def test_only_the_store_talks_to_the_server():
    for package in ("desk", "actors", "serve_apps", "tune_configs"):
        for file in (ROOT / package).rglob("*.py"):
            if file.is_relative_to(ROOT / "desk" / "store"):
                continue
            text = file.read_text("utf-8")
            assert not re.search(r"^\s*(import|from) redis\b", text, re.MULTILINE), file


def test_the_store_itself_writes_through_functions_only():
    for file in (ROOT / "desk" / "store").glob("*.py"):
        text = file.read_text("utf-8")
        for command in re.findall(r"(?:money|bulk|blocking|client|pipeline)\.(\w+)\(", text):
            assert READS.fullmatch(command) or command == "execute_command", (file.name, command)
        for command in re.findall(r"execute_command\(\s*\"(\w+)\"", text):
            assert command == "WAITAOF", (file.name, command)
