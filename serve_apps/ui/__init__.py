"""The operator pages: shells, own ES modules, vendored packages."""
