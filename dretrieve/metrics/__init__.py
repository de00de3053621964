"""Measures, answer matching, significance."""
