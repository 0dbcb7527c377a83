"""What the simulator refuses: a request on the wire, or an option at start."""


class Refusal(Exception):
    """A business error of the venue: HTTP 200 with a code and a message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class HttpRefusal(Exception):
    """An answer of the gateway in front of the venue: a bare HTTP status."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class BadOption(Exception):
    """A start option or a control request cannot be carried out; the text is one sentence."""


def bad_parameter(message: str) -> Refusal:
    return Refusal(109400, message)
