"""Search over an index, merging, fusion: everything between vectors and a run."""
