"""How much, how long and how many: what one client may take of the HTTP server."""

MAX_BODY_BYTES = 1 << 20
MAX_OPEN_BODY_BYTES = 64 << 10
"""Of the paths that ask for no token: a form, and an alert of at most 16 KiB."""
MAX_HEAD_BYTES = 32 << 10
MAX_HEADERS = 100
HEAD_DEADLINE_S = 10.0
BODY_DEADLINE_S = 10.0
"""After this the application answers 408."""
REQUEST_DEADLINE_S = 15.0
"""Of a body, counted from the end of its head, whether or not the application waits for it."""
WRITE_DEADLINE_S = 30.0
"""How long a client may leave what it asked for unread."""
MAX_CONNECTIONS = 1_024
MAX_CONNECTIONS_OF_ONE = 256
"""From one address: an operator's browser needs a dozen, a proxy in front some dozens."""
