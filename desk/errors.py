"""Every error of the desk, branched by what the caller can do about it.

    DeskError
    ├── SettingsError          the operator must change a setting: one sentence, exit code 2
    ├── FieldError             one field of a request is at fault
    │   ├── BadInput           the caller must change it; names the field and the remedy
    │   └── RequestRefused     well formed, and the desk says no: a gate, a limit, a state that moved on
    ├── NotFound               nothing under that name or id
    ├── FeedError              wait or backfill
    │   ├── FeedThrottled      the source says for how long to leave it alone
    │   └── FeedRefused        the source knows us no more: change a setting
    ├── StoreUnavailable       outcome unknown: repeat the call with the same request id
    ├── StoreCorrupt           stop; an operator must repair the store
    ├── FilesUnavailable       shared storage did not do it: nothing is lost, try again or change the setting
    ├── Fenced                 a newer owner exists: the process must exit
    ├── VersionConflict        reload, decide again
    ├── LimitReached           the store refused a reservation: a limit would be crossed
    ├── IllegalTransition      the model is wrong: stop the run, alert
    ├── LedgerMismatch         the model is wrong: stop the run, alert
    ├── ArtifactRefused        an artifact is missing, damaged or of another feature set
    ├── EvaluationFailed       an evaluation could not be computed; no number may replace it
    ├── VenueUnavailable       outcome unknown: look up, same id
    │   ├── OutcomeUnknown     a write went out and no clear answer came back
    │   │   ├── DuplicateClientId  the id is in use: proof that the order exists, adopt it
    │   │   ├── LikelyRefused  a documented refusal without proof: if never found, do not resend
    │   │   ├── WriteThrottled also Throttled
    │   │   └── WriteBanned    also Banned
    │   ├── Throttled          asked too often: back off
    │   ├── Banned             make no call at all for a while, pause trading, alert
    │   └── ProtocolError      an answer could not be read
    └── VenueRejected          final: the venue said no, with evidence

Every field goes to `super().__init__`, so that an error survives pickling between actors.
"""


class DeskError(Exception):
    """Root of all errors raised on purpose."""


class SettingsError(DeskError):
    """A setting is missing, misspelt or out of range. The text is one sentence with the remedy."""


class FieldError(DeskError):
    """`field` names the offending input, `problem` says what it was, what was expected and the remedy."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class BadInput(FieldError):
    """A request cannot be carried out as written."""


class RequestRefused(FieldError):
    """A request is well formed and the desk says no."""


class NotFound(DeskError):
    """Nothing of this kind has this id."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(kind, key)
        self.kind = kind
        self.key = key

    def __str__(self) -> str:
        return f"there is no {self.kind} {self.key}"


class FeedError(DeskError):
    """A data source did not deliver; wait or backfill."""


class FeedThrottled(FeedError):
    """The source must not be asked again for `wait_s` seconds."""

    def __init__(self, source: str, wait_s: int) -> None:
        super().__init__(source, wait_s)
        self.source = source
        self.wait_s = wait_s

    def __str__(self) -> str:
        return f"{self.source} must not be asked for {self.wait_s} s"


class FeedRefused(FeedError):
    """The source refuses our access; the text names the setting to change."""


class StoreUnavailable(DeskError):
    """The store did not answer: the outcome is unknown, repeat with the same request id."""


class StoreCorrupt(DeskError):
    """The store refuses to start on its files; the text carries the repair command."""


class FilesUnavailable(DeskError):
    """Shared storage did not do what was asked; the text names the setting and the remedy."""


class Fenced(DeskError):
    """A newer epoch owns this role; the process must exit."""

    def __init__(self, role: str, ours: int, theirs: int) -> None:
        super().__init__(role, ours, theirs)
        self.role = role
        self.ours = ours
        self.theirs = theirs

    def __str__(self) -> str:
        return f"{self.role} was fenced: epoch {self.ours} is older than {self.theirs}"


class VersionConflict(DeskError):
    """A row moved on since it was read."""

    def __init__(self, key: str, expected: int, found: int) -> None:
        super().__init__(key, expected, found)
        self.key = key
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return f"{self.key} was at version {self.found}, expected {self.expected}: read it again"


class LimitReached(DeskError):
    """The store refused a reservation inside the atomic call."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit

    def __str__(self) -> str:
        return f"the reservation would cross {self.limit}"


class IllegalTransition(DeskError):
    """An event does not fit the state of an order or a run."""

    def __init__(self, state: str, event: str) -> None:
        super().__init__(state, event)
        self.state = state
        self.event = event

    def __str__(self) -> str:
        return f"{self.event} does not fit state {self.state}"


class LedgerMismatch(DeskError):
    """Ledger and fills disagree."""


class ArtifactRefused(DeskError):
    """An artifact is missing, damaged, or made for another feature set."""


class EvaluationFailed(DeskError):
    """An evaluation could not be computed. No other engine may supply the number."""


class VenueUnavailable(DeskError):
    """The venue did not answer clearly. For reads: try later."""

    def __init__(self, call: str, reason: str) -> None:
        super().__init__(call, reason)
        self.call = call
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.call}: {self.reason}"


class OutcomeUnknown(VenueUnavailable):
    """A write may or may not have happened: look it up by its client order id."""


class DuplicateClientId(OutcomeUnknown):
    """The venue says this client order id is in use: evidence that an order of ours exists there."""


class LikelyRefused(OutcomeUnknown):
    """The venue gave a refusal that its documents name but that nobody has proved to be final.

    Unknown until looked up; if the order is never found, it ends with this reason and is not resent.
    """


class Throttled(VenueUnavailable):
    """The venue limits our rate: wait longer before the next call."""


class Banned(VenueUnavailable):
    """The venue has banned our address or account: make no call until the ban ends."""


class WriteThrottled(OutcomeUnknown, Throttled):
    """A write met the rate limit; documented as not carried out, but unproved."""


class WriteBanned(OutcomeUnknown, Banned):
    """A write met a ban."""


class ProtocolError(VenueUnavailable):
    """The venue's answer did not have the documented shape; nothing may be concluded from it."""


class VenueRejected(DeskError):
    """The venue refused, and the refusal is on the allow-list of definite ones.

    `code` is the venue's numeric code as text, `reason` our short name for its group
    (`margin`, `size`, `auth`, `nothing_to_reduce`), `message` the venue's own text.
    """

    def __init__(self, call: str, code: str, reason: str, message: str) -> None:
        super().__init__(call, code, reason, message)
        self.call = call
        self.code = code
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.call} was refused ({self.reason}, code {self.code}): {self.message}"
