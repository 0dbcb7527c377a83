"""Metrics, gates and reports of evaluations. Pure."""
