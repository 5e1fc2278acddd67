"""The command line ``scalinglaws``: each command parses its options, calls a room below and prints what that returns."""
