"""Readers and writers of every file format: collections, examples, qrels, runs, foreign forms, downloads."""
