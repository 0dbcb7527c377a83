"""Measured ratios: each figure stands beside a peer or a floor taken in the same run."""
