"""Write the tables of docs/reliability.md that come from the code: `python -m docs.tables`.

`tests/test_docs.py` fails while one of them is stale.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from desk.trading.orders import TRANSITIONS, OrderState

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
NONE = "no test"
_ROW = re.compile(r"^(\| ([A-Z]\d\d) \|.*\|) [^|]* \|$", re.MULTILINE)


def current(page: str) -> str:
    """Return the page with both tables as they follow from the code now."""
    marked = re.compile(r"(<!-- order states -->\n).*?(<!-- end -->)", re.DOTALL)
    page = marked.sub(lambda found: found[1] + states() + found[2], page)
    return with_proofs(page)


def states() -> str:
    """Render the moves of an order row, from `desk.trading.orders.TRANSITIONS`."""
    lines = ["| from | to | in place |", "|---|---|---|"]
    for state in OrderState:
        follows = TRANSITIONS[state]
        others = ", ".join(f"`{after}`" for after in OrderState if after in follows - {state})
        lines.append(f"| `{state}` | {others} | {'yes' if state in follows else ''} |")
    return "\n".join(lines) + "\n"


def with_proofs(page: str) -> str:
    """Fill the last cell of every catalogue row with the test files that carry its mark."""
    proofs = marks()

    def filled(row: re.Match[str]) -> str:
        files = ", ".join(f"`{name}`" for name in sorted(proofs.get(row[2], ())))
        return f"{row[1]} {files or NONE} |"

    return _ROW.sub(filled, page)


def catalogue(page: str) -> list[str]:
    """Ids of the failures that a page lists, in its order."""
    return [row[2] for row in _ROW.finditer(page)]


def marks() -> dict[str, set[str]]:
    """Test files by catalogue id, from the `catalogue` marks of every test."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for row in _marks_in(ast.parse(path.read_text())):
            found[row].add(path.relative_to(ROOT).as_posix())
    return found


def _marks_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="catalogue"), args=[ast.Constant(value=str(row))]
            ):
                yield row
            case _:
                pass


if __name__ == "__main__":
    PAGE.write_text(current(PAGE.read_text()))
    sys.stdout.write(f"{PAGE} is current\n")
