"""The notebooks run from top to bottom, and git keeps none of their outputs."""

from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def texts_of(name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What each cell of code printed or gave, after all of them ran."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    return [text_of(cell) for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell: nbformat.NotebookNode) -> str:
    outputs = (
        each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell.outputs
    )
    return "".join(outputs)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")  # of the kernel's own libraries
def test_the_notebook_reads_an_evaluation_of_luck_as_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_of("reading_an_evaluation.ipynb", monkeypatch)

    assert "'fail'" in texts[2]
    assert "deflated_sharpe_below_threshold" in texts[2]
    assert "costs 2 times" in texts[4]
    alone, among = (float(line.split()[-1]) for line in texts[5].strip().splitlines())
    assert among < alone


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_the_notebook_goes_from_a_dataset_to_a_leaderboard(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = texts_of("dataset_to_leaderboard.ipynb", monkeypatch)

    assert "ds-" in texts[2]
    assert "confirming the best" in texts[3]
    assert "net_return" in texts[4]
    assert "'verdict': 'fail'" in texts[5]
    assert "'policies tried': 2" in texts[5]
    assert "'counted by the report': 2" in texts[5]
    assert "trial_key" in texts[6]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_git_keeps_no_output_of_a_notebook(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells

    assert all(not cell.outputs for cell in cells if cell.cell_type == "code")
    assert all(cell.execution_count is None for cell in cells if cell.cell_type == "code")
