"""What sentence-transformers puts behind the pooling: Dense and LayerNorm, each one vector to one vector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dretrieve.errors import DataError, quoted
from dretrieve.models.plain import read_json
from dretrieve.models.weights import lay_in
from dretrieve.store.atomic import explained, make_folder, write_json

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "Softplus", "ELU", "Mish", "Hardtanh")


class Dense(nn.Module):
    """A linear layer and an activation; ``residual`` adds what came in."""

    def __init__(self, width: int, dim: int, *, bias: bool, activation: str, residual: bool) -> None:
        super().__init__()
        self.linear, self.activation = nn.Linear(width, dim, bias=bias), getattr(nn, activation)()
        self.adds = residual
        if residual and width != dim:
            self.residual = nn.Linear(width, dim, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return [B, dim]."""
        found: Tensor = self.activation(self.linear(vectors))
        if self.adds:
            found = found + (self.residual(vectors) if hasattr(self, "residual") else vectors)
        return found


class LayerNorm(nn.Module):
    """A norm over the numbers of a vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return [B, width]."""
        found: Tensor = self.norm(vectors)
        return found


def load_head(place: Path, paths: Sequence[str], width: int) -> nn.Sequential:
    """Return the modules of those folders, which stand in the encoder's folder or beside it.

    Raises:
        DataError: a module that cannot be read, or does not fit what comes before it.
    """
    parts = nn.Sequential()
    for path in paths:
        folder = next(folder for folder in (place / path, place.parent / path) if folder.is_dir())
        part = _empty(folder)
        entering = part.norm.normalized_shape[0] if isinstance(part, LayerNorm) else part.linear.in_features
        if entering != width:
            raise DataError(f"{folder} takes vectors of {entering} numbers, but gets {width}")
        file = folder / "model.safetensors"
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            raise DataError(f"{file} cannot be read: {' '.join(str(error).split())[:300]}") from error
        lay_in(part.state_dict(), tensors, file, "fetch it and its config.json again")
        width = part.linear.out_features if isinstance(part, Dense) else width
        parts.append(part)
    return parts.float()


def _empty(folder: Path) -> Dense | LayerNorm:
    """Return the module that a folder's configuration describes."""
    config = read_json(folder / "config.json")
    if "dimension" in config:
        return LayerNorm(int(config["dimension"]))
    path = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    name = path.rpartition(".")[2]
    if not path.startswith("torch.nn.") or name not in ACTIVATIONS:
        raise DataError(
            f"{folder / 'config.json'} names the activation {quoted(path)}; torch's {', '.join(ACTIVATIONS)} "
            "are done here"
        )
    for key in ("module_input_name", "module_output_name"):
        if (config.get(key) or "sentence_embedding") != "sentence_embedding":
            raise DataError(
                f"{folder / 'config.json'}: {key} is {quoted(config[key])}; only the pooled vector "
                "(sentence_embedding) is taken and given here"
            )
    try:
        return Dense(
            int(config["in_features"]),
            int(config["out_features"]),
            bias=bool(config.get("bias", True)),
            activation=name,
            residual=bool(config.get("use_residual")),
        )
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{folder / 'config.json'} names no in_features and out_features") from None


def save_head(folder: Path, head: nn.Sequential, names: Sequence[str]) -> list[tuple[str, str]]:
    """Write the modules as sentence-transformers reads them; return path and kind of each."""
    written = []
    for part, name in zip(head, names, strict=True):
        place = folder / name
        make_folder(place)
        with explained(place):
            save_file(
                {key: of.detach().cpu().contiguous() for key, of in part.state_dict().items()},
                place / "model.safetensors",
            )
        if isinstance(part, Dense):
            kind = type(part.activation)
            residual = {"use_residual": True} if part.adds else {}
            config = {
                "in_features": part.linear.in_features,
                "out_features": part.linear.out_features,
                "bias": part.linear.bias is not None,
                "activation_function": f"{kind.__module__}.{kind.__name__}",
            }
            write_json(place / "config.json", config | residual)
        else:
            assert isinstance(part, LayerNorm)
            write_json(place / "config.json", {"dimension": part.norm.normalized_shape[0]})
        written.append((name, type(part).__name__))
    return written
