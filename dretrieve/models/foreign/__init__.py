"""Checkpoints of other people's code, each form one file: read safely, laid into a method of ours."""
