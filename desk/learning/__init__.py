"""Environment, reward, policies, versions. Pure (numpy, numba, gymnasium)."""
