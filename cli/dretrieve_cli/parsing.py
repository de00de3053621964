"""One command's parser: help with examples first, dashes equal to underscores, shard pairs, ``--config``."""

from __future__ import annotations

import re
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from dretrieve.errors import DretrieveError, quoted
from dretrieve_cli.renames import FLAG_RENAMES, POSITIONAL

# Other tools name a shard by two flags; both together are one --shard I/N.
SHARD_PAIRS = (
    ("--dataset-shard-index", "--dataset-number-of-shards"),
    ("--encode-shard-index", "--encode-num-shard"),
    ("--shard-id", "--shard-num"),
    ("--shard-id", "--num-shards"),
)
# Of an option given twice the last counts. Of these the other would be missed: some commands take several.
INPUTS = set("answers bm25_run corpus data embeddings index qrels queries query_embeddings run".split())
LEFT_COLUMN = 30


class Command(TyperCommand):
    """A typer command whose help, spelling and configuration file follow the rules of this program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Normalise the spelling, read ``--config``, then parse as usual."""
        names = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        names |= {"--help", "-h"}
        words = join_shard_pairs(spell_with_dashes(args, names), names)
        refuse_second_inputs(words, self.params)
        files = values_of("--config", words) if "--config" in names else []
        defaults: dict[str, Any] = {}
        for file in files:
            defaults |= read_config(Path(file), self.params)
        if defaults:
            ctx.default_map = defaults
        takes_more, ctx.allow_extra_args = ctx.allow_extra_args, True
        rest = super().parse_args(ctx, words)
        if ctx.args and not takes_more:
            ctx.fail(words_of_no_option(ctx.command_path, list(ctx.args)))
        refuse_shared_streams(ctx.params)
        return rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write purpose, examples, usage, then the options by group."""
        width = max(60, min(shutil.get_terminal_size((100, 24)).columns, 110))
        purpose, examples = split_docstring(self.help or "")
        formatter.write(purpose + "\n")
        if examples:
            formatter.write("\nExamples:\n" + textwrap.indent(examples, "  ") + "\n")
        pieces = " ".join(self.collect_usage_pieces(ctx))
        formatter.write(f"\nUsage: {ctx.command_path} {pieces}\n")
        for title, rows in self._groups(ctx).items():
            formatter.write(f"\n{title}:\n" + layout(rows, width))

    def _groups(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            fallback = "Arguments" if param.param_type_name == "argument" else "Options"
            record = plain(*record)
            title = getattr(param, "rich_help_panel", None) or fallback
            groups.setdefault(title if param.name != "help" else "Common", []).append(record)
        common = groups.pop("Common", [])
        return groups | {"Common": common}


def refuse_shared_streams(params: Mapping[str, Any]) -> None:
    """Refuse standard input, or another stream, that two inputs name.

    Raises:
        typer.BadParameter: names both.
    """
    from dretrieve.text.files import refuse_shared

    given = [value for name, value in params.items() if name != "output"]
    words = [str(word) for value in given for word in (value if isinstance(value, list | tuple) else [value])]
    try:
        refuse_shared(part for word in words for part in re.split("[=,]", word) if part)
    except DretrieveError as error:
        raise typer.BadParameter(str(error)) from None


def split_docstring(text: str) -> tuple[str, str]:
    """Return the purpose and the example lines of a command's docstring (its ``Examples:`` section)."""
    purpose, _, rest = text.partition("\nExamples:\n")
    return purpose.replace("``", "").strip(), textwrap.dedent(rest).strip("\n")


def plain(left: str, right: str) -> tuple[str, str]:
    """Return an option's two columns without the type words of Python."""
    left, lists = re.subn(r"<list\[([^]]*)\]>", r"<\1>", left.replace(" range>", ">"))
    return left, f"{right} Repeatable." if lists else right


def layout(rows: Iterable[tuple[str, str]], width: int) -> str:
    """Return two columns: the option, and its help wrapped beside or below it."""
    lines = []
    for left, right in rows:
        wrapped = textwrap.wrap(right.replace("``", ""), width - LEFT_COLUMN - 2) or [""]
        if len(left) + 2 > LEFT_COLUMN:
            lines.append(f"  {left}")
        else:
            lines.append(f"  {left:<{LEFT_COLUMN}}{wrapped.pop(0)}".rstrip())
        lines += [" " * (LEFT_COLUMN + 2) + line for line in wrapped]
    return "\n".join(lines) + "\n"


def spell_with_dashes(words: Iterable[str], names: set[str]) -> list[str]:
    """Return the words with ``--some_flag`` written ``--some-flag``, up to a bare ``--``."""
    result: list[str] = []
    for position, word in enumerate(words := list(words)):
        if word == "--":
            return result + words[position:]
        flag, equals, value = word.partition("=")
        dashed = "--" + flag[2:].replace("_", "-")
        known = dashed in names or dashed in FLAG_RENAMES or any(dashed in pair for pair in SHARD_PAIRS)
        result.append(dashed + equals + value if flag.startswith("--") and known else word)
    return result


def values_of(flag: str, words: list[str]) -> list[str]:
    """Return every value that the flag has in the words, as ``--flag value`` or ``--flag=value``."""
    values = []
    for word, after in zip_longest(words, words[1:]):
        if word == flag and after is not None:
            values.append(after)
        elif word.startswith(flag + "="):
            values.append(word.partition("=")[2])
    return values


def refuse_second_inputs(words: list[str], params: Iterable[Any]) -> None:
    """Refuse two values of an input of which the command takes one.

    Raises:
        typer.BadParameter: names both.
    """
    for param in params:
        if param.name not in INPUTS or param.multiple:
            continue
        given = list(dict.fromkeys(value for name in param.opts for value in values_of(name, words)))
        if len(given) > 1:
            cure = "; dretrieve prepare A B --output DIR joins collections" if param.name == "corpus" else ""
            raise typer.BadParameter(
                f"{param.opts[0]} takes one value, not {quoted(given[0])} and {quoted(given[1])}{cure}"
            )


def join_shard_pairs(words: list[str], names: set[str]) -> list[str]:
    """Return the words with another tool's pair of shard flags written as ``--shard I/N``."""
    if "--shard" not in names:
        return words
    for index_flag, count_flag in SHARD_PAIRS:
        index, count = values_of(index_flag, words), values_of(count_flag, words)
        if not (index and count) or {index_flag, count_flag} & names:
            continue
        kept: list[str] = []
        skip = False
        for word in words:
            if skip:
                skip = False
            elif word in (index_flag, count_flag):
                skip = True
            elif not word.startswith((index_flag + "=", count_flag + "=")):
                kept.append(word)
        return [*kept, "--shard", f"{index[-1]}/{count[-1]}"]
    return words


def read_config(path: Path, params: Iterable[Any]) -> dict[str, Any]:
    """Return the YAML file's values by parameter name, as words of a command line would give them.

    Raises:
        typer.BadParameter: unreadable, not a mapping, a key unknown or twice, a flag neither true nor false.
    """
    from dretrieve.reports.strict_yaml import load_yaml

    try:
        content = load_yaml(path)
    except DretrieveError as error:
        raise typer.BadParameter(f"--config {error}") from None
    if content is None:
        return {}
    if not isinstance(content, Mapping):
        raise typer.BadParameter(f"--config {path} must hold `option: value` lines")
    by_key = {
        spelling.lstrip("-").replace("-", "_"): param
        for param in params
        for spelling in (*param.opts, param.name)
        if param.name != "help"
    }
    values: dict[str, Any] = {}
    for key, value in content.items():
        param = by_key.get(str(key).replace("-", "_"))
        if param is None:
            near = get_close_matches(str(key).replace("-", "_"), list(by_key), n=1)
            hint = f"; did you mean {near[0].replace('_', '-')}?" if near else ""
            raise typer.BadParameter(f"--config {path} has the unknown key {key!r}{hint}")
        if value is not None:
            values[param.name] = as_words(path, key, value, param)
    return values


def as_words(path: Path, key: object, value: object, param: Any) -> object:
    """Return a YAML value as the command line would have given it: a bool for a flag, else text or texts."""
    if getattr(param, "is_flag", False):
        if not isinstance(value, bool):
            raise typer.BadParameter(f"--config {path}: {key} is a flag; give true or false, not {value!r}")
        return value
    if param.multiple or param.nargs != 1:
        return [str(item) for item in (value if isinstance(value, list) else [value])]
    if isinstance(value, list | dict):
        raise typer.BadParameter(f"--config {path}: {key} takes one value, not {value!r}")
    return str(value).lower() if isinstance(value, bool) else str(value)


def words_of_no_option(path: str, words: list[str]) -> str:
    """Return one line about words that stand behind no option, and where they belong."""
    shown = [quoted(word) for word in words]
    if len(words) == 2 and path.endswith(" evaluate"):
        cure = (
            f"trec_eval's QRELS RUN is written --qrels {shlex.quote(words[0])} --run {shlex.quote(words[1])}"
        )
    else:
        cure = POSITIONAL.get(path.rpartition(" ")[2], "every value stands behind the option that it is for")
    verb = "stands" if len(words) == 1 else "stand"
    return f"{', '.join(shown[:5])}{' …' if len(shown) > 5 else ''} {verb} behind no option; {cure}"


def explain_usage_error(error: Any, path: str) -> str:
    """Return one line about a mistake in the flags: what is known of the flag elsewhere, or the nearest."""
    message = str(error.format_message()).strip().rstrip(".").removeprefix("Invalid value: ")
    flag = getattr(error, "option_name", None)
    if flag is not None and type(error).__name__ == "NoSuchOption":
        dashed = "--" + str(flag).lstrip("-").replace("_", "-")
        message = f"there is no option {flag}"
        if dashed in FLAG_RENAMES:
            message += f": {FLAG_RENAMES[dashed]}"
        elif error.ctx is not None:
            names = [name for param in error.ctx.command.params for name in param.opts if name[0] == "-"]
            near = get_close_matches(dashed, names, n=1, cutoff=0.7)
            message += f"; did you mean {near[0]}?" if near else ""
    message = " ".join(message.split())
    return f"{message} ({path} --help lists the options)"
