"""The product: rules (pure packages) and adapters. Ray appears only in `engines.rllib` and `cli`."""
