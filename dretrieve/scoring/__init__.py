"""Scores: each is defined once, here."""
