"""From records to token ids: templates, batches by token budget, text analysis."""
