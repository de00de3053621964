"""What methods with one vector a text and the dot product have in common; no method by itself."""

from __future__ import annotations

from dretrieve.models.base import Encoded, Loss, Targets
from dretrieve.models.bi_encoder_config import BiEncoderConfig
from dretrieve.models.contrastive import in_batch_loss
from dretrieve.models.encoder_method import EncoderMethod


class BiEncoder(EncoderMethod):
    """A method whose score is the dot product of two vectors."""

    config: BiEncoderConfig

    def loss(self, query: Encoded, passage: Encoded, targets: Targets) -> Loss:
        """Return the cross-entropy over every passage of the batch (`models.contrastive`)."""
        scores = query.vectors @ passage.vectors.T
        return in_batch_loss(scores, targets, temperature=self.config.temperature)
