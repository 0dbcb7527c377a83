"""The notebook on reading an evaluation runs from top to bottom, and git keeps none of its outputs."""

from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "reading_an_evaluation.ipynb"


def text_of(cell: nbformat.NotebookNode) -> str:
    outputs = (
        each.get("text") or each.get("data", {}).get("text/plain", "") for each in cell.outputs
    )
    return "".join(outputs)


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("default")  # of the kernel's own libraries
def test_the_notebook_reads_an_evaluation_of_luck_as_luck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)

    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()

    texts = [text_of(cell) for cell in notebook.cells if cell.cell_type == "code"]
    assert "'fail'" in texts[2]
    assert "deflated_sharpe_below_threshold" in texts[2]
    assert "costs 2 times" in texts[4]
    alone, among = (float(line.split()[-1]) for line in texts[5].strip().splitlines())
    assert among < alone


def test_git_keeps_no_output_of_the_notebook() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells

    assert all(not cell.outputs for cell in cells if cell.cell_type == "code")
    assert all(cell.execution_count is None for cell in cells if cell.cell_type == "code")
