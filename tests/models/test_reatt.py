"""ReAtt: where it is a fusion in the decoder, what sees what, its two losses by hand, and its gradient."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import T5ForConditionalGeneration

from dretrieve.models.base import TokenBatch
from dretrieve.models.reatt import Reatt
from dretrieve.models.reatt_config import ReattConfig
from dretrieve.training.batches import Choosing
from dretrieve.training.device import save_activation_memory
from dretrieve.training.pieces import Feed, StepOptions, cut_of
from dretrieve.training.processes import Processes
from dretrieve.training.sets import Ragged, TokenTable, TrainingSet
from dretrieve.training.step import Stepper
from dretrieve.types import Record

CPU = torch.device("cpu")
ANSWERS = ("honey bee", "tide", "the oven crust", "rook")


pytestmark = pytest.mark.usefixtures("generators")


@pytest.fixture
def build(small_t5):
    """``build(dropout=0.1, **options)``: the method on the small T5, B = 2 of its 4 layers."""

    def make(dropout=0.0, folder=None, **options):
        torch.manual_seed(1)
        method = Reatt.build(ReattConfig(**options), str(folder or small_t5(dropout_rate=dropout)))
        return method.train()

    return make


def table(rows, name, **columns):
    ids = np.asarray([token for row in rows for token in row], dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return TokenTable(ids, offsets, [f"{name}-{row}" for row in range(len(rows))], columns)


def close_set(questions=8, passages=12, depth=3, seed=0):
    """Questions with so many passages each, all texts ending with 1 (``</s>``); some passages are shared."""
    random = np.random.default_rng(seed)
    texts = [
        [[*random.integers(3, 60, random.integers(low, high)).tolist(), 1] for _ in range(number)]
        for number, low, high in ((questions, 3, 6), (passages, 4, 12))
    ]
    close = [random.choice(passages, depth, replace=False).tolist() for _ in range(questions)]
    return TrainingSet(
        name="close",
        positives=Ragged.of([of[1:] if row % 2 else [] for row, of in enumerate(close)]),
        negatives=Ragged.of([[]] * questions),
        queries=table(texts[0], "q", answers=[(ANSWERS[row % 4],) for row in range(questions)]),
        passages=table(texts[1], "p"),
        close=Ragged.of(close),
    )


def options_of(cache_tokens=0, overhead=20):
    return StepOptions(
        seed=3, precision="fp32", cache_tokens=cache_tokens, overhead=overhead, pad={"query": 0, "passage": 0}
    )


def step(method, training_set=None, batch=4, options=None, cut_by=None, processes=None, device=CPU):
    """Return the prepared first batch and the value of its step; the gradient stands in the method."""
    training_set, options = training_set or close_set(), options or options_of()
    processes = processes or Processes()
    choosing = Choosing(negatives=0, positives="first", seed=3)
    feed = Feed([training_set], batch, choosing, cut_by or options, processes, cut=cut_of(method))
    prepared = feed.make(0)
    method.zero_grad()
    return prepared, Stepper(method, processes, options, device).run(prepared)


def texts_of(prepared):
    """Return by question of the batch its tokens without ``</s>``, its passages' tokens and its answer."""
    batch, training_set = prepared.batch, prepared.batch.training_set

    def row(of, at):
        return of.ids[of.offsets[at] : of.offsets[at + 1]].tolist()

    return [
        (
            row(training_set.queries, int(query))[:-1],
            [row(training_set.passages, int(batch.passage_rows[column])) for column in own],
            training_set.queries.columns["answers"][int(query)][0],
        )
        for query, own in zip(batch.query_rows, batch.own, strict=True)
    ]


def labels_of(method, answer):
    return torch.tensor(list(method._answers([Record("", "", answer)])))


def gradients(model):
    return {name: of.grad for name, of in model.named_parameters() if of.grad is not None}


@pytest.mark.parametrize("depth", [1, 3])
def test_without_bi_layers_it_is_fusion_in_the_decoder(build, small_t5, depth):
    """B = 0 and alpha 0 against transformers alone, loss and gradient; with one passage a plain T5."""
    method = build(bi_layers=0, alpha=0.0)
    prepared, value = step(method, close_set(depth=depth))
    theirs = T5ForConditionalGeneration.from_pretrained(small_t5(dropout_rate=0.0)).train()
    losses = []
    for question, passages, answer in texts_of(prepared):
        rows = [torch.tensor(question + passage) for passage in passages]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(of) for of in rows], batch_first=True)
        labels = labels_of(method, answer)
        if depth == 1:
            losses.append(theirs(input_ids=ids, attention_mask=mask, labels=labels).loss)
            continue
        states = theirs.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        states, mask = states.reshape(1, -1, states.shape[-1]), mask.reshape(1, -1)
        losses.append(theirs(encoder_outputs=(states,), attention_mask=mask, labels=labels).loss)
    total = torch.stack(losses).mean()
    total.backward()
    torch.testing.assert_close(value.loss, total.detach(), atol=1e-5, rtol=1e-5)
    ours = gradients(method.encoder.backbone)
    for name, of in gradients(theirs).items():
        torch.testing.assert_close(ours[name], of, atol=1e-5, rtol=1e-4, msg=name)


def blocked(t5, question, passage, bi_layers):
    """Return the states behind layer B and the last ones, by transformers' blocks, masked over the pair."""
    encoder, width = t5.encoder, len(question) + len(passage)
    bias = encoder.block[0].layer[0].SelfAttention.compute_bias(width, width)
    part = torch.arange(width) >= len(question)
    apart = torch.where(part[:, None] == part[None, :], 0.0, torch.finfo(torch.float32).min)[None, None]
    states = encoder.embed_tokens(torch.tensor([question + passage]))
    for number, block in enumerate(encoder.block):
        if number == bi_layers:
            before = states
        states = block(states, apart if number < bi_layers else None, bias)[0]
    return before, encoder.final_layer_norm(states)


def test_question_and_passage_meet_behind_layer_b(build):
    """Against a block mask over the whole pair; queries and keys are those of the layer that meets."""
    method = build().eval()
    questions, passages = [[7, 8, 9], [11, 12]], [[20, 21, 22, 1], [30, 31, 1], [40, 41, 42, 43, 44, 1]]
    asked, told = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 2])
    sides = [table(rows, "t").batch(np.arange(len(rows)), pad=0) for rows in (questions, passages)]
    with torch.no_grad():
        parts = [(method.bi_states(of), of.mask) for of in sides]
        fused = method.fused(parts[0], parts[1], asked, told)
        keys = method.encoder.projected(parts[1][0], 2, "passage", range(4))
        for question in range(2):
            expected = []
            for pair in torch.nonzero(asked == question).flatten().tolist():
                words, text = questions[question], passages[told[pair]]
                before, last = blocked(method.encoder.backbone, words, text, 2)
                expected.append(last[0])
                own = torch.cat([parts[0][0][question, : len(words)], parts[1][0][told[pair], : len(text)]])
                torch.testing.assert_close(own, before[0], atol=1e-5, rtol=1e-4)
                layer = method.encoder.layers[2].layer[0]
                inside = layer.SelfAttention.k(layer.layer_norm(before[0])).view(-1, 4, 8)[len(words) :]
                torch.testing.assert_close(keys[told[pair], : len(text)], inside, atol=1e-5, rtol=1e-4)
            found = fused.states[question][fused.mask[question]]
            torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-4)
        other = sides[1].input_ids.clone()
        other[0, 0] = 50
        changed = method.fused(
            parts[0], (method.bi_states(replace(sides[1], input_ids=other)), sides[1].mask), asked, told
        )
    moved = (changed.states - fused.states).abs().amax(dim=-1)
    first = (fused.pairs == 0) & fused.mask
    assert (moved[first] > 1e-5).all(), "the layers behind B see both, so that the question's states move too"
    assert moved[~first].max() < 1e-6, "and no other pair's"


def test_padding_and_company_change_no_vector(build):
    method = build().eval()
    texts = [[5, 6, 7, 8, 1], [9, 1], [10, 11, 12, 1]]
    for side in ("query", "passage"):
        with torch.no_grad():
            together = method.encode_side(table(texts, "t").batch(np.arange(3), pad=0), side)
            for row, text in enumerate(texts):
                alone = method.encode_side(table([text], "t").batch(np.arange(1), pad=0), side)
                torch.testing.assert_close(
                    together.vectors[row, : len(text)], alone.vectors[0], atol=1e-5, rtol=1e-4
                )
                assert together.mask[row].sum() == len(text)


def by_hand(method, prepared, *, in_batch=True):
    """Return the cross-document loss and the targets, in loops over questions and passages."""
    t5, texts = method.encoder.backbone, texts_of(prepared)
    names = [[int(column) for column in own] for own in prepared.batch.own]
    by_name = {
        name: text
        for own, (_, passages, _) in zip(names, texts, strict=True)
        for name, text in zip(own, passages, strict=True)
    }
    layer = t5.encoder.block[2].layer[0]

    def vectors(text, which):
        states = method.bi_states(
            TokenBatch(torch.tensor([text]), torch.ones(1, len(text), dtype=torch.bool))
        )
        return which(layer.layer_norm(states[0])).view(len(text), 4, 8)

    shares = (method.head_weights / method.config.head_temperature).softmax(0)
    losses, targets = [], []
    for own, (question, passages, answer) in zip(names, texts, strict=True):
        query = vectors(question, layer.SelfAttention.q)
        columns = list(dict.fromkeys([*own, *by_name] if in_batch else own))
        scores = []
        for column in columns:
            key = vectors(by_name[column], layer.SelfAttention.k)
            products = torch.einsum("ihd,jhd->hij", query, key)
            scores.append((shares * products.amax(dim=2).mean(dim=1)).sum())
        last = torch.cat([blocked(t5, question, passage, 2)[1] for passage in passages], dim=1)
        labels = labels_of(method, answer)
        attention = t5.decoder.block[-1].layer[1].EncDecAttention
        heard = []
        handle = attention.q.register_forward_hook(lambda module, given, of, heard=heard: heard.append(of))
        t5(encoder_outputs=(last,), labels=labels)
        handle.remove()
        products = torch.einsum("hd,jhd->hj", heard[0][0, 0].view(4, 8), attention.k(last)[0].view(-1, 4, 8))
        lengths = [len(question) + len(passage) for passage in passages]
        target = torch.stack(
            [of.sum(dim=1).mean() for of in products.softmax(dim=1).split(lengths, dim=1)]
        ).detach()
        chances = torch.stack(scores).log_softmax(0)[: len(own)]
        losses.append((target * (target.log() - chances)).sum())
        targets.append(target)
    return torch.stack(losses).mean(), targets


@pytest.mark.parametrize(("in_batch", "products"), [(True, 1 << 24), (True, 1200), (True, 1), (False, 1200)])
def test_the_cross_document_loss_is_that_of_the_formulas(build, in_batch, products, monkeypatch):
    """Scores, target, KL and gradient restated; a passage that several questions bring counts once.

    All passages at once, some of them, one by one.
    """
    monkeypatch.setattr("dretrieve.models.maxsim.BLOCK_PRODUCTS", products)
    method = build(in_batch=in_batch, alpha=2.0, qa_weight=0.0, head_temperature=0.5)
    with torch.no_grad():
        method.head_weights.copy_(torch.tensor([0.3, -0.1, 0.2, 0.0]))
    prepared, value = step(method)
    assert len(prepared.batch.passage_rows) < 12, "passages are shared"
    found = {name: of.clone() for name, of in gradients(method).items()}
    method.zero_grad()
    expected, targets = by_hand(method, prepared, in_batch=in_batch)
    (2.0 * expected).backward()
    torch.testing.assert_close(value.parts["cross"], expected.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(value.loss, 2 * expected.detach(), atol=1e-5, rtol=1e-4)
    for target in targets:
        assert float(target.sum()) == pytest.approx(1, abs=1e-5)
    theirs = gradients(method)
    theirs["head_weights"] *= method.config.head_temperature  # the weights get the gradient of w / tau
    assert theirs["head_weights"].abs().min() > 0
    for name, of in found.items():
        torch.testing.assert_close(of, theirs[name], atol=1e-5, rtol=1e-3, msg=name)
    reached = {name for name, of in found.items() if of.abs().max() > 0}
    assert reached
    assert not any("decoder" in name for name in reached), "the target is a constant"
    judged = [row for row, column in enumerate(prepared.batch.positives) if column >= 0]
    assert judged
    on_judged = [float(targets[row][1:].sum()) for row in judged]
    assert float(value.parts["target on judged"]) == pytest.approx(np.mean(on_judged), abs=1e-5)


def test_a_head_without_weight_is_left_out_and_nothing_changes(build):
    """One head has everything: its relevance alone is computed, and the loss is that of all heads."""
    method = build(head_temperature=0.01, qa_weight=0.0)
    with torch.no_grad():
        method.head_weights[2] = 2.0
    assert method._counting() == [2]
    prepared, value = step(method)
    torch.testing.assert_close(
        value.parts["cross"], by_hand(method, prepared)[0].detach(), atol=1e-5, rtol=1e-4
    )
    assert method.head_weights.grad.abs().max() == 0


def test_a_warm_up_leaves_the_heads_alone(build):
    method = build(alpha=0.0)
    names = {group.name for group in method.parameter_groups(method.phases()[0])}
    assert names == {"t5"}
    _, value = step(method)
    assert method.head_weights.grad is None
    assert set(value.parts) == {"answers", "passages cut"}


def test_cached_and_direct_gradients_are_equal_with_dropout(build):
    """The decoder's term in each piece: the same pieces with and without the gradient cache."""
    method = build(dropout=0.2, head_temperature=0.5)
    cached = options_of(cache_tokens=120)
    prepared, value = step(method, batch=8, options=cached)
    assert len(prepared.groups) > 2
    found = {name: of.clone() for name, of in gradients(method).items()}
    _, direct = step(method, batch=8, options=options_of(), cut_by=cached)
    torch.testing.assert_close(value.loss, direct.loss)
    for name, of in gradients(method).items():
        torch.testing.assert_close(found[name], of, atol=1e-7, rtol=1e-5, msg=name)
    other = replace(cached, seed=4)
    assert float(step(method, batch=8, options=other, cut_by=cached)[1].loss) != float(value.loss)


def test_the_loss_does_not_depend_on_the_pieces(build):
    method = build(head_temperature=0.5)
    losses = [float(step(method, batch=8, options=options_of(of))[1].loss) for of in (0, 120)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_passage_that_two_questions_cut_is_the_longer_one_in_any_order_of_the_pieces(build):
    method, options = build(head_temperature=0.5, max_len=10, query_max_len=5), options_of(60)
    prepared, value = step(method, batch=8, options=options)
    lengths = {}
    for group in prepared.groups:
        told = method.pairs_of(group.queries, group.passages, group.owners)[1].mask.sum(dim=1)
        for name, length in zip(group.passage_rows.tolist(), told.tolist(), strict=True):
            lengths.setdefault(name, set()).add(length)
    assert any(len(of) > 1 for of in lengths.values())
    found = {name: of.clone() for name, of in gradients(method).items()}
    method.zero_grad()
    turned = replace(prepared, groups=prepared.groups[::-1])
    other = Stepper(method, Processes(), options, CPU).run(turned)
    torch.testing.assert_close(value.loss, other.loss)
    for name, of in gradients(method).items():
        torch.testing.assert_close(found[name], of, atol=1e-5, rtol=1e-4, msg=name)


def test_questions_alone_are_read_too(build, small_t5):
    """depth=0: the question with its ``</s>``, as a plain T5."""
    none = replace(close_set(), close=Ragged.of([[]] * 8), passages=table([], "p"))
    method = build(alpha=0.0)
    prepared, value = step(method, none)
    theirs = T5ForConditionalGeneration.from_pretrained(small_t5(dropout_rate=0.0))
    losses = [
        theirs(input_ids=torch.tensor([[*question, 1]]), labels=labels_of(method, answer)).loss
        for question, _, answer in texts_of(prepared)
    ]
    torch.testing.assert_close(value.loss, torch.stack(losses).mean().detach(), atol=1e-5, rtol=1e-5)


def test_a_passage_is_cut_behind_its_question_and_keeps_its_end(build):
    method = build(max_len=10, query_max_len=5)
    texts = (close_set().queries, table([[7, 8, 9, 10, 11, 12, 13, 14, 1], [20, 21, 1]], "p"))
    questions, passages = (of.batch(np.arange(2), pad=0) for of in texts)
    owners = torch.tensor([1, 1])
    asked, told = method.pairs_of(questions, passages, owners)
    lengths = questions.mask.sum(dim=1)
    assert asked.mask.sum(dim=1).tolist() == [lengths[0], lengths[1] - 1], "the first has no passage"
    room = 10 - int(asked.mask[1].sum())
    assert told.input_ids[0][told.mask[0]].tolist() == [*range(7, 6 + room), 1]
    assert told.input_ids[1][told.mask[1]].tolist() == [20, 21, 1]
    prepared, value = step(method, batch=8)
    pairs = [len(question) + len(passage) for question, own, _ in texts_of(prepared) for passage in own]
    assert int(value.parts["passages cut"]) == sum(length > 10 for length in pairs) > 0


def test_bfloat16_and_recomputed_activations_give_the_same_step(build):
    """Products in bfloat16 near those in float32; recomputed activations to the last bits."""
    method = build(head_temperature=0.5)
    _, exact = step(method)
    expected = {name: of.clone() for name, of in gradients(method).items()}
    _, lower = step(method, options=replace(options_of(), precision="bf16"))
    assert float(lower.loss) == pytest.approx(float(exact.loss), rel=0.02)
    method = build(head_temperature=0.5)
    save_activation_memory(method)
    _, again = step(method)
    assert float(again.loss) == pytest.approx(float(exact.loss), rel=1e-6)
    for name, of in gradients(method).items():
        torch.testing.assert_close(of, expected[name], atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_a_gpu_takes_the_step_of_the_cpu(build, precision, near):
    """Both losses, the target, and the gradient, in pieces of the gradient cache."""
    method = build(head_temperature=0.5)
    _, exact = step(method, batch=8, options=options_of(120))
    expected = {name: of.clone() for name, of in gradients(method).items()}
    cuda = torch.device("cuda")
    options = replace(options_of(120), precision=precision)
    _, found = step(method.to(cuda), batch=8, options=options, device=cuda)
    assert float(found.loss) == pytest.approx(float(exact.loss), rel=near)
    for name, of in exact.parts.items():
        assert float(found.parts[name]) == pytest.approx(float(of), rel=near, abs=near), name
    for name, of in gradients(method).items():
        assert (of.cpu() - expected[name]).norm() <= 10 * near * expected[name].norm() + 1e-7, name
