"""The options of ``train`` that belong to no method, with transformers' names; free of torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from dretrieve.errors import UsageError
from dretrieve.models.config import Phase, check_legal, option

DATA, LEARNING, RHYTHM, COMPUTE = "Data", "Learning", "Rhythm", "Compute"
# These change no bytes of the result (the dev set counts by its contents): a training goes on under others.
FREE = frozenset(
    {
        "dev",
        "save_steps",
        "save_total_limit",
        "keep_checkpoints",
        "report_to",
        "resume",
        "device",
        "max_minutes",
    }
)
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
ALIASES: dict[str, tuple[str, ...]] = {
    "per_device_train_batch_size": ("--batch-size",),
    "num_train_epochs": ("--epochs",),
    "learning_rate": ("--lr",),
    "grad_cache": ("--gradient-cache",),
}


def panel(default: Any, text: str, where: str, *, legal: tuple[object, ...] = ()) -> Any:
    """Return a field with help, legal values and the group it stands in."""
    found: Any = option(default, text, legal=legal)
    found.metadata = {**found.metadata, "panel": where}
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """How to train, whatever the method."""

    dev: str = panel("", "Collection and split that chooses the weights, DIR:split.", DATA)
    dev_metric: str = panel("nDCG@10", "The measure on dev.", DATA)
    dev_queries: int = panel(1000, "Dev queries at most; 0 takes all.", DATA)
    dev_pool: int = panel(5000, "Passages searched on dev; 0 takes all.", DATA)
    train_group_size: int = panel(2, "Passages per query: one positive and hard negatives.", DATA)
    positives: str = panel("sample", "Which positive of several.", DATA, legal=("sample", "first"))

    per_device_train_batch_size: int = panel(32, "Queries per step and process.", LEARNING)
    num_train_epochs: float = panel(3.0, "Passes over the data.", LEARNING)
    max_steps: int = panel(0, "Steps, instead of passes.", LEARNING)
    learning_rate: float = panel(2e-5, "The highest rate.", LEARNING)
    lr_scheduler_type: str = panel(
        "linear", "Course of the rate.", LEARNING, legal=("linear", "cosine", "constant")
    )
    warmup_ratio: float = panel(0.1, "Part of the steps in which the rate rises.", LEARNING)
    warmup_steps: int = panel(0, "The same as a number of steps.", LEARNING)
    phase: tuple[str, ...] = panel(
        (), "Options of one phase of the method: name=PHASE,OPTION=VALUE,…; repeat for several.", LEARNING
    )
    weight_decay: float = panel(0.0, "AdamW's decay of matrices.", LEARNING)
    adam_beta1: float = panel(0.9, "AdamW's beta 1.", LEARNING)
    adam_beta2: float = panel(0.999, "AdamW's beta 2.", LEARNING)
    adam_epsilon: float = panel(1e-8, "AdamW's epsilon.", LEARNING)
    max_grad_norm: float = panel(1.0, "The whole batch's gradient is cut to this length; 0 never.", LEARNING)
    gradient_accumulation_steps: int = panel(1, "Only 1: see --grad-cache.", LEARNING)
    distil_weight: float = panel(
        0.0,
        "Share of the loss that a teacher's scores in the data have, 0 to 1; the labels' has the rest.",
        LEARNING,
    )
    distil_loss: str = panel("kl", "What is learned from them.", LEARNING, legal=("kl", "margin-mse"))
    distil_temperature: float = panel(1.0, "Divides the teacher's scores and the model's (kl).", LEARNING)
    distil_student_temperature: float = panel(
        0.0, "Another divisor of the model's; 0 the same. Vectors of length 1 want about .05.", LEARNING
    )
    seed: int = panel(42, "Of data order, sampling, dropout and new weights.", LEARNING)

    logging_steps: int = panel(10, "A point of the curve.", RHYTHM)
    save_steps: int = panel(200, "A checkpoint; 0 only at the end.", RHYTHM)
    save_total_limit: int = panel(2, "Checkpoints that stay while training.", RHYTHM)
    keep_checkpoints: bool = panel(False, "They stay after the training, each a model for encode.", RHYTHM)
    eval_steps: int = panel(0, "A look at dev; 0 at the end of each pass.", RHYTHM)
    patience: int = panel(0, "Looks without a better value before training ends; 0 never.", RHYTHM)
    report_to: str = panel("none", "tensorboard, wandb or none; several with commas.", RHYTHM)
    resume: str = panel(
        "auto", "Go on from a checkpoint if there is one.", RHYTHM, legal=("auto", "never", "must")
    )
    max_minutes: float = panel(
        0.0, "Stop after so many minutes with exit code 75; the same command goes on; 0 never.", RHYTHM
    )

    grad_cache: int = panel(
        0, "Gradient cache with so many tokens a piece: big batches in little memory; 0 off.", COMPUTE
    )
    gradient_checkpointing: bool = panel(False, "Recompute activations: less memory, slower.", COMPUTE)
    device: str = panel("auto", "auto, cpu, cuda or cuda:N.", COMPUTE)
    precision: str = panel("auto", "Number type of the products.", COMPUTE, legal=("auto", "fp32", "bf16"))

    def __post_init__(self) -> None:
        check_legal(self)
        if self.gradient_accumulation_steps != 1:
            raise UsageError(
                f"--gradient-accumulation-steps {self.gradient_accumulation_steps}: accumulated small "
                "batches have fewer negatives than one large batch; give a larger "
                "--per-device-train-batch-size with --grad-cache 8192, which needs no more memory"
            )
        for name, least in (
            ("per_device_train_batch_size", 2),
            ("train_group_size", 1),
            ("max_steps", 0),
            ("logging_steps", 0),
            ("save_steps", 0),
            ("save_total_limit", 1),
            ("eval_steps", 0),
            ("patience", 0),
            ("grad_cache", 0),
            ("warmup_steps", 0),
            ("dev_queries", 0),
            ("dev_pool", 0),
            ("max_minutes", 0),
            ("weight_decay", 0),
            ("max_grad_norm", 0),
        ):
            if getattr(self, name) < least:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} {getattr(self, name)} is too small; give {least} or more")
        if self.num_train_epochs <= 0 or self.learning_rate <= 0:
            raise UsageError("--num-train-epochs and --learning-rate must be above 0")
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} {getattr(self, name)} must be at least 0 and below 1")
        if self.adam_epsilon <= 0:
            raise UsageError(f"--adam-epsilon {self.adam_epsilon} must be above 0; 1e-8 is usual")
        if not 0 <= self.warmup_ratio <= 1:
            raise UsageError(f"--warmup-ratio {self.warmup_ratio} must lie between 0 and 1")
        if self.patience and not self.dev:
            raise UsageError("--patience watches the dev set; give --dev DIR:split too")
        self._check_teacher()
        self.of_phases()

    def of_phases(self) -> dict[str, dict[str, Any]]:
        """Return the options of ``--phase`` by the phase's name.

        Raises:
            UsageError: no name, a phase twice, an option that is none of a phase's, a value of another type.
        """
        defaults: dict[str, Any] = {item.name: item.default for item in fields(self)}
        found: dict[str, dict[str, Any]] = {}
        for word in self.phase:
            name, *given = word.split(",")
            own: dict[str, Any] = {}
            for part in given:
                key, _, value = part.partition("=")
                key = key.strip().replace("-", "_")
                if key not in OF_PHASE:
                    raise UsageError(
                        f"--phase {word}: {key!r} is no option of a phase; {', '.join(OF_PHASE)} are"
                    )
                try:
                    own[key] = type(defaults[key])(value)
                except ValueError:
                    raise UsageError(f"--phase {word}: {key}= takes a number, not {value!r}") from None
            if not name.startswith("name=") or not own or name[5:] in found:
                raise UsageError(f"--phase {word}: write name=PHASE,OPTION=VALUE,…, once for each phase")
            found[name[5:]] = own
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
            chosen |= layer
        return replace(self, **{**defaults, **chosen, "phase": ()})

    def _check_teacher(self) -> None:
        if not 0 <= self.distil_weight <= 1:
            raise UsageError(f"--distil-weight {self.distil_weight} must lie between 0 and 1")
        if self.distil_temperature <= 0 or self.distil_student_temperature < 0:
            raise UsageError("--distil-temperature and --distil-student-temperature must be above 0")
        given = [
            item.name
            for item in fields(self)
            if item.name in OF_TEACHER - {"distil_weight"} and getattr(self, item.name) != item.default
        ]
        if given and not self.distil_weight:
            flag = given[0].replace("_", "-")
            raise UsageError(f"--{flag} without --distil-weight changes nothing; give a weight up to 1 too")
        if self.distil_loss == "margin-mse" and len(given) > 1:
            flag = given[-1].replace("_", "-")
            raise UsageError(f"--{flag} belongs to --distil-loss kl; margin-mse compares margins as they are")
        if self.distil_weight and self.train_group_size < 2:
            raise UsageError(
                f"--distil-weight compares a query's own passages; give --train-group-size 2 or more, "
                f"not {self.train_group_size}"
            )

    def recorded(self) -> dict[str, Any]:
        """Return those that can change the result, for the manifest; inputs are named by their contents."""
        left_out = FREE | (frozenset() if self.dev else OF_DEV)
        left_out |= frozenset() if self.distil_weight else OF_TEACHER
        left_out |= {"phase"}
        recorded = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in left_out}
        return recorded | ({"phases": self.of_phases()} if self.phase else {})
