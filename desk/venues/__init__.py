"""The Venue port and its adapters: BingX through ccxt, and the paper venue."""
