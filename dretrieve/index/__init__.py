"""Indexes over vectors or terms: exact, approximate, token, lexical."""
