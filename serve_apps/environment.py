"""Variables that Serve reads in each of its processes: they go into the environment of what starts Ray."""

SERVE_ENVIRONMENT = {
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve_apps.ingress.layers",
    # A handle asks its replica directly; by way of a task of Ray's it takes half as long again.
    "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
    # Not so the HTTP server, which would have to carry event streams and their ends that way.
    "RAY_SERVE_PROXY_USE_GRPC": "0",
    # A handle's requests leave from the event loop that makes them, not by way of a thread.
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    # A handle that asks once a minute would first ask each replica how busy it is.
    "RAY_SERVE_QUEUE_LENGTH_CACHE_TIMEOUT_S": "600",
}
