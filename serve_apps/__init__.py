"""The policy deployment and the operator API with its pages, on Ray Serve."""
