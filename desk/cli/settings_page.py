"""`docs/settings.md`, generated from the settings themselves; `--check` fails when it is stale."""

import sys
from pathlib import Path

from desk.errors import SettingsError
from desk.settings import setting_names

HEAD = """# Settings

Environment variables, read once at start. A misspelt name with one of our prefixes is an error.
This page is generated: `python -m desk.cli.settings_page docs/settings.md`.

| variable | default | meaning |
|---|---|---|
"""


def page() -> str:
    """The page's text."""
    rows: list[str] = []
    for name, field in setting_names().items():
        default = field.default
        shown = ",".join(default) if isinstance(default, tuple) else default  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        rows.append(
            f"| `{name}` | {'unset' if shown is None else f'`{shown}`'} | {field.description} |"
        )
    return HEAD + "\n".join(rows) + "\n"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` compare it; 0 when it is true."""
    check = "--check" in arguments
    target = Path(next(word for word in arguments if not word.startswith("--")))
    if not check:
        target.write_text(page())
        return 0
    if target.exists() and target.read_text() == page():
        return 0
    raise SettingsError(f"{target} is stale: run `python -m desk.cli.settings_page {target}`")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except SettingsError as stale:
        sys.exit(str(stale))
