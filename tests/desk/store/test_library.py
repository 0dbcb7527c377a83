"""The function library, and that nobody changes money beside it."""

import ast
import re
from pathlib import Path

import pytest

from desk.store.library import library
from desk.store.valkey import ValkeyStore
from desk.trading.orders import TERMINAL, TRANSITIONS

ROOT = Path(__file__).parents[3]


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


# --- nobody changes the store beside its functions -----------------------------------------------

PACKAGES = ("desk", "actors", "serve_apps", "tune_configs")
READS = frozenset(
    [
        "fcall_ro",
        "hget",
        "hgetall",
        "hmget",
        "info",
        "keys",
        "config_get",
        "ping",
        "xinfo_stream",
        "xrange",
        "xread",
        "zrevrange",
        "zrevrangebyscore",
        "zrangebyscore",
    ]
)
"""Commands that change nothing; a test asks the server whether that is so."""
FUNCTIONS = frozenset({"fcall", "function_load"})
TRIMS = frozenset({"xtrim"})
"""Shortens a stream of events that have been read; no row is touched."""
PLUMBING = frozenset({"close", "pipeline", "execute", "connection_pool", "disconnect", "scan_iter"})
SETTINGS = frozenset({"config_set"})
"""Of the server, while it is copied: no row is touched."""
CLIENTS = frozenset({"money", "bulk", "blocking", "client", "pipeline"})
"""Names under which the adapter holds a client."""


def bare_calls(source: str) -> list[str]:
    """Everything a module does to the server but reads and calls of functions, as `line: command`."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Attribute(attr="execute_command"), args=[first, *_]):
                command = first.value if isinstance(first, ast.Constant) else "?"
                if command != "WAITAOF":
                    found.append(f"{node.lineno}: {command}")
            case ast.Call(func=ast.Attribute(attr=command, value=receiver)):
                name = ast.unparse(receiver).removesuffix("()").rsplit(".", 1)[-1]
                allowed = READS | FUNCTIONS | TRIMS | PLUMBING | SETTINGS
                if (name in CLIENTS or "redis.Redis(" in name) and command not in allowed:
                    found.append(f"{node.lineno}: {command}")
            case ast.Call(func=ast.Name(id="getattr"), args=[receiver, *_]):
                if ast.unparse(receiver).rsplit(".", 1)[-1] in CLIENTS:
                    found.append(f"{node.lineno}: getattr")
            case _:
                pass
    return found


def product_files() -> list[Path]:
    return [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]


def is_adapter(path: Path) -> bool:
    return path.is_relative_to(ROOT / "desk" / "store")


def test_the_store_itself_writes_through_functions_only():
    files = [path for path in product_files() if is_adapter(path)]

    found = {path.name: bare_calls(path.read_text("utf-8")) for path in files}

    assert len(files) > 20
    assert {name: calls for name, calls in found.items() if calls} == {}


def test_only_the_store_talks_to_the_server():
    outside = re.compile(
        r"^\s*(import|from) redis\b|\.connection\b\s*\.\s*\w+|valkey\.Valkey\(", re.M
    )

    talking = [
        path
        for path in product_files()
        if not is_adapter(path) and outside.search(path.read_text("utf-8"))
    ]

    assert talking == []


@pytest.mark.parametrize(
    "line",
    [
        "self._connection.money.incr('led:paper')",
        "self.money.hincrby('led:paper', 'v', 1)",
        "connection.bulk.xadd('ev:orders', {})",
        "store.connection.money.set('risk:kill:all', 1)",
        "client.hset('ord:c1', 'state', 'open')",
        "connection.money.delete('adj:paper:a1')",
        "connection.money.pipeline().delete('adj:paper:a1')",
        "pipeline.zadd('ordx:open:paper', {})",
        "connection.money.eval('return redis.call(\"DEL\", KEYS[1])', 1, 'led:paper')",
        "connection.money.execute_command('DEL', 'led:paper')",
        "connection.money.execute_command(name, 'led:paper')",
        "getattr(connection.money, 'incr')('led:paper')",
        "run(lambda: self.money.expire('idem:k', 1))",
    ],
)
def test_a_bare_write_would_be_found(line: str):
    assert len(bare_calls(f"x = 1\n{line}\n")) == 1


def test_what_the_adapter_may_call_changes_nothing(store: ValkeyStore):
    names = {"config_get": "config|get", "xinfo_stream": "xinfo|stream"}
    commands = [names.get(name, name) for name in sorted(READS)]

    facts = store.connection.money.execute_command("COMMAND", "INFO", *commands)

    # redis-py keys the answer by the command's name.
    flags = {name: set(facts[name]["flags"]) for name in commands}
    assert {name for name in commands if "write" in flags[name]} == set()
    assert len(flags) == len(READS)
