"""What each actor is made of in the running desk: one module per actor, built in its own process.

A builder is handed to the actor instead of the adapters themselves, which cannot travel. Each
module imports only what its process needs: a poller must not load the features, nor a ledger ccxt.
"""
