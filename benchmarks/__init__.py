"""Measure callstream, beside others, on this machine: `python -m benchmarks --help`."""
