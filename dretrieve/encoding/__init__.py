"""Texts and a model become vectors, chunk by chunk."""
