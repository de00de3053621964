"""All that is a run: its forms read and written, search over an index, merging, fusion; no model."""
