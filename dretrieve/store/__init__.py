"""Artefacts on disk: atomic writes, manifests, fingerprints, shards, the text store, the model card."""
