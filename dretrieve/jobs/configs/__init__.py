"""What every job is told: one file a command; its options and help on the command line are made from it.

Importing these loads no torch and no numpy.
"""
