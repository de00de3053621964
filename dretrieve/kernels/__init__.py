"""Compiled loops, each with a plain twin that a test compares (tests/kernels/twins.py)."""
