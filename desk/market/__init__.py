"""Candles, the interval grid, gaps, integrity, features. Pure."""
