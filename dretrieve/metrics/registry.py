"""Measure names to modules, in ir_measures' spelling, with trec_eval's and common spellings beside.

``parse_measures("nDCG@10 RR@10 recall.100")`` is what ``--metrics`` holds. A definition is imported when it
is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Sequence

from dretrieve.errors import LONGEST_QUOTE, UsageError, quoted
from dretrieve.metrics.measure import Definition, Measure, request

MODULES = {
    "AP": "ap",
    "Bpref": "bpref",
    "ERR": "err",
    "GMAP": "gmap",
    "IPrec": "iprec",
    "Judged": "judged_rate",
    "NumQ": "num_q",
    "NumRel": "num_rel",
    "NumRelRet": "num_rel_ret",
    "NumRet": "num_ret",
    "P": "precision",
    "R": "recall",
    "RBP": "rbp",
    "RR": "rr",
    "Rprec": "rprec",
    "SetAP": "set_ap",
    "SetF": "set_f",
    "SetP": "set_precision",
    "SetR": "set_recall",
    "Success": "success",
    "nDCG": "ndcg",
}
# Other tools' spellings, in lower case: ir_measures' own aliases, then trec_eval's names.
ALIASES = {
    "map": "AP",
    "mrr": "RR",
    "precision": "P",
    "recall": "R",
    "hit": "Success",
    "hits": "Success",
    "hitrate": "Success",
    "map_cut": "AP",
    "ndcg_cut": "nDCG",
    "recip_rank": "RR",
    "gm_map": "GMAP",
    "iprec_at_recall": "IPrec",
    "set_p": "SetP",
    "set_recall": "SetR",
    "set_f": "SetF",
    "set_map": "SetAP",
    "num_q": "NumQ",
    "num_ret": "NumRet",
    "num_rel": "NumRel",
    "num_rel_ret": "NumRelRet",
}
# trec_eval's names for several measures. What it prints beside them and is not measured here is in LEFT_OUT.
CUTS = "5,10,15,20,30,100,200,500,1000"
COUNTS = ("num_q", "num_ret", "num_rel", "num_rel_ret")
LEVELS = "iprec_at_recall.0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1"
OFFICIAL = (*COUNTS, "map", "gm_map", "Rprec", "bpref", "recip_rank", LEVELS, f"P.{CUTS}")
SET_NAMES = ("set_P", "set_recall", "set_map", "set_F")
GRADED = (f"recall.{CUTS}", "nDCG", "success.1,5,10", f"map_cut.{CUTS}", f"ndcg_cut.{CUTS}")
SETS: dict[str, tuple[str, ...]] = {
    "official": OFFICIAL,
    "set": (*COUNTS, *SET_NAMES),
    "all_trec": (*OFFICIAL, *GRADED, *SET_NAMES),
    "iprec_at_recall": (LEVELS,),
    "map_cut": (f"map_cut.{CUTS}",),
    "ndcg_cut": (f"ndcg_cut.{CUTS}",),
}
LEFT_OUT: dict[str, str] = {
    "set": "utility, set_relative_P",
    "all_trec": "relstring, infAP, gm_bpref, utility, 11pt_avg, dcg, ideal_dcg, relative_P, Rprec_mult, "
    "ndcg_rel, Rndcg, binG, G, set_relative_P, num_nonrel_judged_ret",
}
SPELLINGS = {"gain": "dcg", "exp": "exp-log2", "linear": "log2"}  # nDCG(gain=exp)
OWN_GRAMMAR = re.compile(r"(?P<name>[A-Za-z]+)(?:\((?P<inside>[^()]*)\))?(?:@(?P<after>[^@()]+))?")
TREC_GRAMMAR = re.compile(r"(?P<name>[A-Za-z_]+?)[._](?P<cuts>\d+(?:\.\d+)?(?:,\d+(?:\.\d+)?)*)")
# Blanks, semicolons, and commas before a name; not those of ndcg_cut.5,10 or RBP(p=0.5,rel=2).
SEPARATOR = re.compile(r"[\s;]+|,(?=\s*[A-Za-z])(?![^()]*\))")


def names() -> list[str]:
    """Return the measures' names, sorted."""
    return sorted(MODULES, key=str.lower)


def definition(name: str) -> Definition:
    """Return the definition of that canonical name."""
    module = importlib.import_module(f"dretrieve.metrics.{MODULES[name]}")
    definitions = (value for value in vars(module).values() if isinstance(value, Definition))
    return next(value for value in definitions if value.name == name)


def parse_measures(text: str | Sequence[str], notes: list[str] | None = None) -> list[Measure]:
    """Return the measures named in ``text``, parted by blanks or commas, each once, in their order.

    ``notes`` is told what a set holds that is not measured here.

    Raises:
        UsageError: names that are not measures (all of them at once, with the legal ones), or bad settings.
    """
    words = [
        word.strip(",")
        for part in ([text] if isinstance(text, str) else text)
        for word in SEPARATOR.split(part)
    ]
    found: list[Measure] = []
    unknown: list[str] = []
    wrong: list[str] = []
    for word in (w for w in words if w):
        try:
            if notes is not None and word in LEFT_OUT:
                notes.append(f"of trec_eval's {word} these are not measured here: {LEFT_OUT[word]}")
            for part in SETS.get(word, (word,)):
                found += [measure for measure in _parse(part) if measure not in found]
        except KeyError:
            unknown.append(word if len(word) <= LONGEST_QUOTE else quoted(word))
        except UsageError as error:
            wrong.append(str(error))
    if unknown:
        wrong.insert(0, _unknown(unknown))
    if wrong:
        raise UsageError("; ".join(wrong))
    if not found:
        raise UsageError(
            f"no measure given; for example 'nDCG@10 RR@10 R@100'; there are {', '.join(names())}"
        )
    return found


def _unknown(words: list[str]) -> str:
    by_lower = {name.lower(): name for name in MODULES}
    heads = [re.split(r"[(@._]", word)[0].lower() for word in words]
    near = {
        by_lower[match]
        for head in heads
        for match in difflib.get_close_matches(head, by_lower, n=1, cutoff=0.7)
    }
    hint = f" (did you mean {', '.join(sorted(near))}?)" if near else ""
    if any(re.fullmatch(r"top\d+", word) for word in words):
        hint += " (top20 is measured with --answers DIR:split)"
    plural = "are no measures" if len(words) > 1 else "is no measure"
    return (
        f"{', '.join(words)} {plural}{hint}; the measures are {', '.join(names())}, "
        "written like nDCG@10, RR@10, R@100, P(rel=2)@5, nDCG(dcg='exp-log2')@10, or as trec_eval names them "
        "(ndcg_cut.10, official, all_trec)"
    )


def _canonical(name: str) -> str:
    """Return the canonical name; any letter case is taken.

    Raises:
        KeyError: there is none.
    """
    if name in MODULES:
        return name
    by_lower = {known.lower(): known for known in MODULES}
    return by_lower.get(name.lower()) or ALIASES[name.lower()]


def _parse(word: str) -> list[Measure]:
    own = OWN_GRAMMAR.fullmatch(word)
    if own is not None:
        inside = _inside(own["inside"] or "", word)
        return [request(definition(_canonical(own["name"])), inside, own["after"])]
    if word.lower() in ALIASES:
        return [request(definition(ALIASES[word.lower()]), {}, None)]
    trec = TREC_GRAMMAR.fullmatch(word)
    if trec is None:
        raise KeyError(word)
    known = definition(_canonical(trec["name"]))
    if known.name == "RR":
        raise UsageError(
            f"{word}: trec_eval's recip_rank takes no cutoff (it needs -M); write RR@{trec['cuts']}"
        )
    return [request(known, {}, cut) for cut in trec["cuts"].split(",")]


def _inside(text: str, word: str) -> dict[str, str]:
    settings = [part.split("=", 1) for part in text.replace(" ", "").split(",") if part]
    if any(len(setting) != 2 for setting in settings):
        raise UsageError(f"{word}: settings are written name=value, for example P(rel=2)@5")
    return {SPELLINGS.get(name, name): SPELLINGS.get(value, value) for name, value in settings}
