"""What ``convert`` is told of a checkpoint, or of a folder that names no pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import Writing
from dretrieve.jobs.configs.convert_run import ConvertRunConfig, InOtherForm
from dretrieve.models.foreign.forms import FOLDERS, FORMS
from dretrieve.options import REQUIRED, check, option

WRITERS = "; ".join(f"{name}: {form.text}" for name, form in FORMS.items())


@dataclass(frozen=True, kw_only=True)
class ConvertConfig(Writing, InOtherForm):
    r"""Or a run into another form of run; no code inside a checkpoint is run.

    Every tensor that a vector depends on must be there and fit. A folder that does not say its pooling or
    its prompts gets a card that does; of a model some layers may be kept, and of an encoder that has learnt
    no token vectors the principal components of its tokens' states. Runs are read in every form; MS MARCO's
    holds ranks, from which 1 / rank becomes the score.

    Examples:
        dretrieve convert hf_bert_base.cp --from dpr --backbone google-bert/bert-base-uncased --output dpr
        dretrieve convert pytorch_model.bin --from taser --backbone Luyu/co-condenser-wiki --output taser
        dretrieve convert general_state_dict.prompt --from ddr -b google-bert/bert-base-uncased -o ddr
        dretrieve convert t5-large-lm-adapt --from t5 --output t5-large
        dretrieve convert reatt-large-nq --from reatt --output reatt
        dretrieve convert bert-base --pooling mean --normalize yes --output encoder
        dretrieve convert intfloat/e5-base-v2 --query-template 'query: {text}' \
            --passage-template 'passage: {title} {text}' --output e5
        dretrieve convert minilm --layers 0,2,4 --output small
        dretrieve convert minilm --pooling tokens --dim 128 --pca nfcorpus --output tokens
        dretrieve convert work/colbert --to pylate --output pylate
        dretrieve convert run.trec --output-format msmarco --output run.tsv
        dretrieve convert run.trec --output-format dpr --queries nq:test --corpus wiki --output nq.json
    """

    source: Path = option(
        REQUIRED,
        "A checkpoint (.bin, .cp, .pt, .prompt, .safetensors), a model's folder or name, or a run.",
        argument=True,
    )
    form: str = option("", f"Who wrote it. {WRITERS}.", flag="--from", metavar="FORM", panel="Checkpoints")
    backbone: str = option(
        "",
        "What it was trained from (its sizes and tokenizer): a folder or hub name.",
        aliases=("-b",),
        panel="Checkpoints",
    )
    layers: str = option(
        "", "Keep these layers alone, counted from 0: 0,2,4.", metavar="I,J,…", panel="Models"
    )
    to: str = option(
        "",
        "Write a colbert model as another tool's folder: "
        + "; ".join(f"{name}: {text}" for name, text in FOLDERS.items())
        + ".",
        legal=("", *FOLDERS),
        metavar="FORM",
        panel="Models",
    )
    said: Mapping[str, Any] = option(
        {},
        panel="Folders that do not say it",
        shorthands={
            "pooling": (
                str,
                "How token states become one vector: cls, mean, last, max, weightedmean or mean_sqrt_len; or "
                "tokens: each keeps its own, a colbert model (with --pca).",
            ),
            "normalize": (str, "Whether vectors get length 1: yes or no."),
            "query_max_len": (int, "Longest query in tokens."),
            "passage_max_len": (int, "Longest passage in tokens."),
            "query_template": (str, "Form of a query, for example 'query: {text}'."),
            "passage_template": (str, "Form of a passage, for example '{title} {text}'."),
            "dim": (int, "With --pooling tokens: numbers a token, 128."),
        },
    )
    pca: str = option(
        "",
        "With --pooling tokens: the collection whose passages say what is kept of a token's state.",
        metavar="DIR",
        panel="Folders that do not say it",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.source.exists() and self.output.resolve() == self.source.resolve():
            raise UsageError(f"--output {self.output} is the source itself; choose another folder")
        if self.queries or self.corpus or self.topic_field:
            raise UsageError(
                "--queries, --corpus and --topic-field go with --output-format: they are for runs"
            )

    @classmethod
    def from_words(cls, given: dict[str, Any]) -> ConvertConfig | ConvertRunConfig:
        """Return the config of what was given: of a run when the form to write it in is named.

        Raises:
            UsageError: options of both.
        """
        if "output_format" not in given:
            return cls(**given)
        if any([given.pop(name) for name in ("form", "backbone", "layers", "pca", "to")]):
            raise UsageError(
                "--from, --backbone, --layers, --pca and --to are for models, --output-format is for runs"
            )
        if said := given.pop("said", {}):
            raise UsageError(f"--{min(said).replace('_', '-')} is for a model's folder, not for a run")
        return ConvertRunConfig(run=given.pop("source"), **given)
