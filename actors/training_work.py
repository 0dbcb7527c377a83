"""The work of a training from a terminal: the same command is the same work, so that it can go on."""

import hashlib

from actors.training import TrainAsk, Work, job_folder
from desk.store.checkpoints import FOLDER
from desk.store.codec import to_json
from desk.store.places import Home


def terminal_work(home: Home, ask: TrainAsk, *, now_ms: int) -> Work:
    """Where a command's training keeps its checkpoints, and since when.

    Killed and given again, it has the same id and beginning; once it has ended, the same command is
    other work, whose version differs in its id alone.
    """
    digest = hashlib.sha256(to_json(TrainAsk, ask)).hexdigest()[:16]
    name = f"terminal-{digest}"
    began = job_folder(home, name) / "began_ms"
    if (job_folder(home, name) / FOLDER).is_dir() and began.is_file():
        return Work(work_id=name, began_ms=int(began.read_text()))
    began.parent.mkdir(parents=True, exist_ok=True)
    began.write_text(str(now_ms))
    return Work(work_id=name, began_ms=now_ms)
