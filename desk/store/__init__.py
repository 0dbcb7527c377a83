"""The one durable store: typed client, function library, embedded server, history, artifacts."""
