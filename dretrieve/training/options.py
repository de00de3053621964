"""The options of ``train`` that belong to no method, with transformers' names; free of torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from dretrieve.errors import UsageError
from dretrieve.models.config import Phase
from dretrieve.options import check, flag_of, option, options, read_pairs, refuse_given

OF_TEACHER = frozenset({"distil_weight", "distil_loss", "distil_temperature", "distil_student_temperature"})
OF_DEV = frozenset({"dev_metric", "dev_queries", "dev_pool", "eval_steps", "patience"})
LENGTH = ("max_steps", "num_train_epochs")
OF_PHASE = (
    *LENGTH,
    "learning_rate",
    "lr_scheduler_type",
    "warmup_ratio",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "per_device_train_batch_size",
    "train_group_size",
)
RATE = 2e-5  # where neither the command line nor the method says one
_data = partial(option, panel="Data")
_learning = partial(option, panel="Learning")
_rhythm = partial(option, panel="Rhythm")
_compute = partial(option, panel="Compute")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """How to train, whatever the method; under other ``free`` options a training goes on."""

    dev: str = _data("", "Collection and split that chooses the weights, DIR:split.", free=True)
    dev_metric: str = _data("nDCG@10", "The measure on dev.")
    dev_queries: int = _data(1000, "Dev queries at most; 0 takes all.", least=0)
    dev_pool: int = _data(5000, "Passages searched on dev; 0 takes all.", least=0)
    train_group_size: int = _data(2, "Passages per query: one positive and hard negatives.", least=1)
    positives: str = _data("sample", "Which positive of several.", legal=("sample", "first"))

    per_device_train_batch_size: int = _learning(
        32, "Queries per step and process.", least=2, aliases=("--batch-size",)
    )
    num_train_epochs: float = _learning(3.0, "Passes over the data.", above=0, aliases=("--epochs",))
    max_steps: int = _learning(0, "Steps, instead of passes.", least=0)
    learning_rate: float | None = _learning(
        None, "The highest rate; without it 2e-5, of ddr's prefixes 7e-3.", above=0, aliases=("--lr",)
    )
    lr_scheduler_type: str = _learning(
        "linear", "Course of the rate behind its rise.", legal=("linear", "cosine", "constant")
    )
    warmup_ratio: float = _learning(0.1, "Part of the steps in which the rate rises.", least=0, most=1)
    warmup_steps: int = _learning(0, "The same as a number of steps.", least=0)
    phase: tuple[str, ...] = _learning(
        (), "Options of one phase of the method: name=PHASE,OPTION=VALUE,…; repeat for several."
    )
    weight_decay: float = _learning(0.0, "AdamW's decay of matrices.", least=0)
    adam_beta1: float = _learning(0.9, "AdamW's beta 1.", least=0, below=1)
    adam_beta2: float = _learning(0.999, "AdamW's beta 2.", least=0, below=1)
    adam_epsilon: float = _learning(1e-8, "AdamW's epsilon.", above=0)
    max_grad_norm: float = _learning(
        1.0, "The whole batch's gradient is cut to this length; 0 never.", least=0
    )
    gradient_accumulation_steps: int = _learning(1, "Only 1: see --grad-cache.")
    distil_weight: float = _learning(
        0.0,
        "Share of the loss that a teacher's scores in the data have, 0 to 1; the labels' has the rest.",
        least=0,
        most=1,
    )
    distil_loss: str = _learning("kl", "What is learned from them.", legal=("kl", "margin-mse"))
    distil_temperature: float = _learning(1.0, "Divides the teacher's scores and the model's (kl).", above=0)
    distil_student_temperature: float = _learning(
        0.0, "Another divisor of the model's; 0 the same. Vectors of length 1 want about .05.", least=0
    )
    seed: int = _learning(42, "Of data order, sampling, dropout and new weights.")

    logging_steps: int = _rhythm(10, "A point of the curve.", least=0)
    save_steps: int = _rhythm(200, "A checkpoint; 0 only at the end.", least=0, free=True)
    save_total_limit: int = _rhythm(2, "Checkpoints that stay while training.", least=1, free=True)
    keep_checkpoints: bool = _rhythm(
        False, "They stay after the training, each a model for encode.", free=True
    )
    eval_steps: int = _rhythm(0, "A look at dev; 0 at the end of each pass.", least=0)
    patience: int = _rhythm(0, "Looks without a better value before training ends; 0 never.", least=0)
    report_to: str = _rhythm("none", "tensorboard, wandb or none; several with commas.", free=True)
    resume: str = _rhythm(
        "auto", "Go on from a checkpoint if there is one.", legal=("auto", "never", "must"), free=True
    )
    max_minutes: float = _rhythm(
        0.0,
        "Stop after so many minutes with exit code 75; the same command goes on; 0 never.",
        least=0,
        free=True,
    )

    grad_cache: int = _compute(
        0,
        "Gradient cache with so many tokens a piece: big batches in little memory; 0 off.",
        least=0,
        aliases=("--gradient-cache",),
    )
    gradient_checkpointing: bool = _compute(False, "Recompute activations: less memory, slower.")
    device: str = _compute("auto", "auto, cpu, cuda or cuda:N.", free=True)
    precision: str = _compute(
        "auto",
        "Number type of the products; auto: bf16 on a GPU, fp32 on a CPU.",
        legal=("auto", "fp32", "bf16"),
    )

    def __post_init__(self) -> None:
        check(self)
        if self.gradient_accumulation_steps != 1:
            raise UsageError(
                f"--gradient-accumulation-steps {self.gradient_accumulation_steps}: accumulated small "
                "batches have fewer negatives than one large batch; give a larger "
                "--per-device-train-batch-size with --grad-cache 8192, which needs no more memory"
            )
        if not self.dev:
            refuse_given(self, OF_DEV, "is of the dev set; give --dev DIR:split too, or leave it out")
        self._check_teacher()
        self.of_phases()

    @property
    def rate(self) -> float:
        """The highest learning rate; of a phase's options its own."""
        return RATE if self.learning_rate is None else self.learning_rate

    def of_phases(self) -> dict[str, dict[str, Any]]:
        """Return the options of ``--phase`` by the phase's name.

        Raises:
            UsageError: no name, a phase twice, an option that phases do not have, a value that is not legal.
        """
        found: dict[str, dict[str, Any]] = {}
        for word in self.phase:
            own = read_pairs(TrainOptions, word, "--phase", ("name", *OF_PHASE))
            name = own.pop("name", "")
            if not name or not own or name in found:
                raise UsageError(f"--phase {word}: write name=PHASE,OPTION=VALUE,…, once for each phase")
            found[name] = own
        return found

    def within(self, phase: Phase) -> TrainOptions:
        """Return the options of a phase: ``--phase`` wins over the options of all, these over its defaults.

        An option of all counts as given where it is not at its default.

        Raises:
            UsageError: values that are not legal or do not fit together.
        """
        general = {item.name: getattr(self, item.name) for item in fields(self) if item.name in OF_PHASE}
        defaults = {item.name: item.default for item in fields(self) if item.name in OF_PHASE}
        given = {name: value for name, value in general.items() if value != defaults[name]}
        chosen: dict[str, Any] = {}
        for layer in (phase.options, given, self.of_phases().get(phase.name, {})):
            if any(name in layer for name in LENGTH):  # steps or passes, whichever was said last
                chosen = {name: value for name, value in chosen.items() if name not in LENGTH}
            if "warmup_ratio" in layer:
                chosen.pop("warmup_steps", None)  # an outer layer's, which would win over the ratio
            chosen |= layer
        return replace(self, **{**defaults, **chosen, "phase": ()})

    def _check_teacher(self) -> None:
        given = [
            flag_of(item)
            for item, _ in options(self)
            if item.name in OF_TEACHER - {"distil_weight"} and getattr(self, item.name) != item.default
        ]
        if given and not self.distil_weight:
            raise UsageError(f"{given[0]} without --distil-weight changes nothing; give a weight up to 1 too")
        if self.distil_loss == "margin-mse" and len(given) > 1:
            raise UsageError(
                f"{given[-1]} belongs to --distil-loss kl; margin-mse compares margins as they are"
            )
        if self.distil_weight and self.train_group_size < 2:
            raise UsageError(
                f"--distil-weight compares a query's own passages; give --train-group-size 2 or more, "
                f"not {self.train_group_size}"
            )

    def recorded(self) -> dict[str, Any]:
        """Return those that can change the result, for the manifest; the dev set counts by its contents."""
        left_out = frozenset() if self.dev else OF_DEV
        left_out |= frozenset() if self.distil_weight else OF_TEACHER
        left_out |= {"phase"}
        recorded = {
            item.name: getattr(self, item.name)
            for item, known in options(self)
            if not known.free and item.name not in left_out
        }
        recorded["learning_rate"] = self.rate
        return recorded | ({"phases": self.of_phases()} if self.phase else {})
