"""Heavy frameworks, each behind a few functions: Nautilus and RLlib."""
