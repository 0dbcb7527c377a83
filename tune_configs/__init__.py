"""One study per YAML file: space, scheduler, budget, metric; no logic."""
