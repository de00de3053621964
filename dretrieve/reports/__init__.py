"""Tables, plots, claims, verdicts."""
