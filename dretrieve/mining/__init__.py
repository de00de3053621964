"""Mining: hard negatives out of a run."""
