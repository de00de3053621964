"""Training: batches from a plan, the gradient cache, the loop, its checkpoints and the choice on dev.

A small loop of our own in plain torch stands here, not ``transformers.Trainer``. The spike that decided it
(``tests/training/test_spike.py``) asks for bits, and the Trainer keeps them from us:

* its resume replays the sampler and restores generator states from a pickle; here batch ``s`` is a pure
  function of (seed, ``s``) and the dropout seed is folded from (seed, step, rank, chunk), so a checkpoint is
  weights, optimizer and a step number, and no pickle is read;
* its step is one ``compute_loss`` under DDP; the gradient cache needs the loss over gathered vectors between
  two passes, and 1 × B = N × B/N needs summed, not averaged, gradients. Both mean overriding the step, the
  backward, the clipping and the saving, which is all that it does;
* the loop is shorter than the overrides were, and imports none of accelerate's launch code.

Nothing here names a method: everything goes through `dretrieve.models.base.Method`.
"""
