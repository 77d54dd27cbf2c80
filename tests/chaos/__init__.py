"""Faults that strike a running build, and what must be the same afterwards: `python -m tests.chaos --help`."""
