"""Instruments, intents, risk, orders, fills, ledger, reconciliation. Pure."""
