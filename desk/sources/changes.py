"""What a source of signals tells between polls."""

from collections.abc import Callable
from dataclasses import dataclass

from desk.market.channel_messages import ChannelMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Something happened in a channel: read it again. Deletions are told here alone."""

    channel: str
    message: ChannelMessage | None = None
    """An edited message as it stands now; None when new ones came."""
    deleted_ids: tuple[int, ...] = ()


type Hear = Callable[[Changed], None]
