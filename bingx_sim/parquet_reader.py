"""Write columns of a Parquet file to standard output as an npz archive."""

import sys
from io import BytesIO
from typing import Any, cast

import numpy as np
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs] - pyarrow ships no types


def main(path: str, columns: list[str]) -> None:
    """Fail with pyarrow's own words where the file or a column is missing."""
    reader = cast("Any", pyarrow.parquet)
    missing = [name for name in columns if name not in reader.read_schema(path).names]
    if missing:
        sys.exit(f"it has no column {missing[0]}")
    table: Any = reader.read_table(path, columns=columns)
    arrays = {name: np.asarray(table.column(name).to_numpy()) for name in columns}
    archive = BytesIO()
    np.savez(archive, allow_pickle=False, **arrays)
    sys.stdout.buffer.write(archive.getvalue())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
