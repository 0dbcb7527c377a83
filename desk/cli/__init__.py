"""The `desk` command: everything an operator or an ML engineer does from a terminal."""
