import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import UsageError
from dretrieve.metrics.judged import judge
from dretrieve.metrics.measure import GAINS, Measure, Parameters
from dretrieve.metrics.options import RelevanceOptions
from dretrieve.metrics.registry import LEFT_OUT, MODULES, SETS, definition, names, parse_measures
from dretrieve.metrics.relevance import prepared
from dretrieve.text.qrels import qrels_of
from tests.common import run_of

CUTS = (5, 10, 15, 20, 30, 100, 200, 500, 1000)


def printed(text):
    return [str(measure) for measure in parse_measures(text)]


def test_every_module_defines_the_measure_of_its_row():
    assert len(MODULES) == 21
    for name in names():
        assert definition(name).name == name


def test_blanks_commas_and_repetitions():
    assert printed("nDCG@10 RR@10,R@100;nDCG@10") == ["nDCG@10", "RR@10", "R@100"]
    assert printed(["AP", "P@5, RBP(p=0.5)"]) == ["AP", "P@5", "RBP(p=0.5)"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ndcg@10", ["nDCG@10"]),
        ("MRR@10", ["RR@10"]),
        ("MAP", ["AP"]),
        ("Recall@100", ["R@100"]),
        ("ndcg_cut.10", ["nDCG@10"]),
        ("ndcg_cut_10", ["nDCG@10"]),
        ("ndcg_cut.5,10", ["nDCG@5", "nDCG@10"]),
        ("recall.1000", ["R@1000"]),
        ("P.5,10", ["P@5", "P@10"]),
        ("map", ["AP"]),
        ("map_cut.100", ["AP@100"]),
        ("recip_rank", ["RR"]),
        ("bpref", ["Bpref"]),
        ("success.1", ["Success@1"]),
        ("judged.10", ["Judged@10"]),
        ("iprec_at_recall.0.25", ["IPrec@0.25"]),
        ("set_map", ["SetAP"]),
        ("num_rel_ret", ["NumRelRet"]),
        ("gm_map", ["GMAP"]),
        ("err@20", ["ERR@20"]),
        ("ERR(max=3)@20", ["ERR(max=3)@20"]),
        ("nDCG(dcg='exp-log2')@10", ["nDCG(dcg='exp-log2')@10"]),
        ('nDCG(dcg="exp-log2")@10', ["nDCG(dcg='exp-log2')@10"]),
        ("ndcg(gain=exp)@10", ["nDCG(dcg='exp-log2')@10"]),
        ("nDCG(dcg=log2)@10", ["nDCG@10"]),
        ("map_cut", [f"AP@{k}" for k in CUTS]),
        ("ndcg_cut", [f"nDCG@{k}" for k in CUTS]),
    ],
)
def test_other_tools_spellings(word, expected):
    assert printed(word) == expected


COUNTS = ["NumQ", "NumRet", "NumRel", "NumRelRet"]
OFFICIAL_SET = [
    *COUNTS, "AP", "GMAP", "Rprec", "Bpref", "RR", *[f"IPrec@{k / 10:g}" for k in range(11)],
    *[f"P@{k}" for k in CUTS],
]  # fmt: skip


def test_trec_evals_sets_and_what_is_not_measured_here():
    notes: list[str] = []
    assert [str(measure) for measure in parse_measures("official", notes)] == OFFICIAL_SET
    assert notes == []
    everything = [str(measure) for measure in parse_measures("all_trec", notes)]
    assert everything == [
        *OFFICIAL_SET, *[f"R@{k}" for k in CUTS], "nDCG", "Success@1", "Success@5", "Success@10",
        *[f"AP@{k}" for k in CUTS], *[f"nDCG@{k}" for k in CUTS], "SetP", "SetR", "SetAP", "SetF",
    ]  # fmt: skip
    assert len(notes) == 1
    assert notes[0].startswith("of trec_eval's all_trec these are not measured here: relstring, infAP, ")
    assert printed("set") == [*COUNTS, "SetP", "SetR", "SetAP", "SetF"]


def test_the_sets_hold_what_trec_evals_own_table_holds():
    theirs = pytest.importorskip("pytrec_eval").supported_nicknames
    for name in ("official", "set", "all_trec"):
        ours = {re.split(r"[.]", word)[0] for word in SETS[name]} | set(LEFT_OUT.get(name, "").split(", "))
        assert ours - {"", "nDCG", "dcg", "ideal_dcg"} == theirs[name] - {"runid", "ndcg"}, name


def test_recip_rank_with_a_cutoff_is_explained():
    with pytest.raises(UsageError, match=r"recip_rank takes no cutoff \(it needs -M\); write RR@10"):
        parse_measures("recip_rank.10")


def test_all_unknown_names_at_once_with_the_legal_ones():
    with pytest.raises(UsageError) as caught:
        parse_measures("nDCG@10 ndgc@10 infAP wibble@3")
    message = str(caught.value)
    assert message.startswith("ndgc@10, infAP, wibble@3 are no measures (did you mean nDCG?)")
    assert all(name in message for name in MODULES)


def test_one_unknown_name_and_a_wrong_setting_together():
    with pytest.raises(UsageError) as caught:
        parse_measures("wibble P(rel)@5 nDCG@0")
    message = str(caught.value)
    assert "wibble is no measure; " in message
    assert "P(rel)@5: settings are written name=value" in message
    assert "the cutoff must be a whole number" in message


def test_nothing_at_all():
    with pytest.raises(
        UsageError, match="no measure given; for example 'nDCG@10 RR@10 R@100'; there are AP, "
    ):
        parse_measures("  ")


def measures():
    def build(name, k, recall, rel, p, dcg):
        known = definition(name)
        given_k = {"none": None, "recall": None, "required": k or 1}.get(known.cutoff, k)
        return Measure(
            known,
            Parameters(
                k=given_k,
                recall=recall / 100 if known.cutoff == "recall" else 0.0,
                rel=rel if "rel" in known.parameters else 1,
                p=p / 100 if "p" in known.parameters else 0.8,
                max=rel if "max" in known.parameters else 4,
                dcg=dcg if "dcg" in known.parameters else "log2",
            ),
        )

    whole = st.integers(1, 5000)
    return st.builds(
        build,
        st.sampled_from(names()),
        st.none() | whole,
        st.integers(0, 100),
        st.integers(1, 9),
        st.integers(1, 99),
        st.sampled_from(GAINS),
    )


@given(measures())
def test_names_round_trip(measure):
    assert parse_measures(str(measure)) == [measure]


def test_values_stay_between_zero_and_one(random_pair):
    wanted = parse_measures(
        "nDCG nDCG@3 nDCG(gain=exp)@5 ERR ERR@3 GMAP "
        "RR RR@2 R@7 P@7 AP AP@7 Success@2 Rprec Judged@9 Bpref IPrec@0.4 RBP SetP SetR SetF"
    )
    for seed in range(20):
        hits, judgements = random_pair(seed, -1)
        judged = judge(run_of(hits), qrels_of(judgements))
        for measure in wanted:
            values = measure.values(judged)
            assert values.shape == (5,)
            assert ((values >= 0) & (values <= 1 + 1e-12)).all(), (seed, str(measure))


def test_a_perfect_ranking_has_value_one():
    judgements = {"q": {"a": 3, "b": 2, "c": 1}}
    judged = judge(run_of({"q": {"a": 3.0, "b": 2.0, "c": 1.0}}), qrels_of(judgements))
    names = "nDCG nDCG@2 RR AP Rprec R@3 P@3 Success@1 Bpref IPrec@1 Judged@3 SetP SetR SetF SetAP"
    for measure in parse_measures(names):
        assert measure.values(judged)[0] == pytest.approx(1), measure


# pytrec_eval's names. IPrec differs by its rounding (see dretrieve.metrics.iprec); it lacks RBP and Judged.
PYTREC = {
    "nDCG@10": "ndcg_cut_10",
    "nDCG@1000": "ndcg_cut_1000",
    "nDCG": "ndcg",
    "RR": "recip_rank",
    "R@5": "recall_5",
    "R@100": "recall_100",
    "P@5": "P_5",
    "AP": "map",
    "AP@10": "map_cut_10",
    "Success@5": "success_5",
    "Rprec": "Rprec",
    "Bpref": "bpref",
    "SetP": "set_P",
    "SetR": "set_recall",
    "SetF": "set_F",
    "SetAP": "set_map",
    "NumRet": "num_ret",
    "NumRelRet": "num_rel_ret",
}


@pytest.mark.parametrize("rel", [1, 2])  # no negative grades: pytrec_eval crashes on some
def test_equality_with_pytrec_eval_on_200_random_runs_with_ties(random_pair, rel):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    compared = 0
    for seed in range(100):
        hits, judgements = random_pair(1000 * rel + seed)
        theirs = pytrec_eval.RelevanceEvaluator(
            judgements, set(PYTREC.values()), relevance_level=rel
        ).evaluate(hits)
        judged = judge(run_of(hits), qrels_of(judgements))
        for name, other in PYTREC.items():
            head, at, cut = name.partition("@")
            takes_rel = "rel" in definition(head).parameters
            (measure,) = parse_measures(f"{head}(rel={rel}){at}{cut}" if takes_rel else name)
            for query_id, value in zip(judged.query_ids, measure.values(judged), strict=True):
                assert value == pytest.approx(theirs[query_id][other], abs=1e-12), (seed, query_id, name)
                compared += 1
    assert compared == 100 * 5 * len(PYTREC)


def test_equality_with_gdeval_on_random_runs_with_ties(random_pair):
    """ERR and nDCG of exponential gains, by ir_measures' copy of TREC's script (five decimals)."""
    ir_measures = pytest.importorskip("ir_measures")
    if shutil.which("perl") is None:
        pytest.skip("gdeval.pl needs perl")
    theirs = {
        "ERR@20": ir_measures.ERR @ 20,
        "ERR@3": ir_measures.ERR @ 3,
        "nDCG(dcg='exp-log2')@20": ir_measures.nDCG(dcg="exp-log2") @ 20,
        "nDCG(dcg='exp-log2')@3": ir_measures.nDCG(dcg="exp-log2") @ 3,
    }
    assert [str(measure) for measure in theirs.values()] == list(theirs)
    compared = 0
    for seed in range(8):
        hits, judgements = random_pair(50 + seed)
        hits = {query[1:]: scored for query, scored in hits.items()}  # gdeval's topics are numbers
        graded = {
            query[1:]: {p: min(4, 2 * grade) for p, grade in some.items()}
            for query, some in judgements.items()
        }
        values = ir_measures.iter_calc(list(theirs.values()), graded, hits)
        found = {(one.query_id, str(one.measure)): one.value for one in values}
        judged = judge(run_of(hits), qrels_of(graded))
        for (measure,) in map(parse_measures, theirs):
            for query_id, value in zip(judged.query_ids, measure.values(judged), strict=True):
                assert value == pytest.approx(found.get((query_id, str(measure)), 0.0), abs=6e-6)
                compared += value > 0
    assert compared > 100


def test_equality_with_pytrec_evals_gm_map(random_pair):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    for seed in range(20):
        hits, judgements = random_pair(seed)
        theirs = pytrec_eval.RelevanceEvaluator(judgements, {"gm_map"}).evaluate(hits)
        logs = [found["gm_map"] for found in theirs.values()]
        (measure,) = parse_measures("gm_map")
        ours = measure.aggregate(measure.values(judge(run_of(hits), qrels_of(judgements))))
        assert ours == pytest.approx(pytrec_eval.compute_aggregated_measure("gm_map", logs), abs=1e-12)


# trec_eval's own test files: expected output, qrels, run, -c, -M, -l.
OFFICIAL = [
    ("out.test", "qrels.test", "results.test", False, None, 1, 29),
    ("out.test.a", "qrels.test", "results.test", False, None, 1, 68),
    ("out.test.aq", "qrels.test", "results.test", False, None, 1, 266),
    ("out.test.aqc", "qrels.test", "results.trunc", True, None, 1, 260),
    ("out.test.aqcM", "qrels.test", "results.trunc", True, 100, 1, 260),
    ("out.test.aql", "qrels.rel_level", "results.test", False, None, 2, 266),
]


def official_names(rel):
    level = f"(rel={rel})" if rel > 1 else ""
    found = {
        "map": f"AP{level}", "gm_map": f"GMAP{level}", "Rprec": f"Rprec{level}",
        "bpref": f"Bpref{level}", "recip_rank": f"RR{level}",
        "ndcg": "nDCG", "num_ret": "NumRet", "num_rel": f"NumRel{level}", "num_rel_ret": f"NumRelRet{level}",
        "num_q": "NumQ", "set_P": f"SetP{level}", "set_recall": f"SetR{level}", "set_F": f"SetF{level}",
        "set_map": f"SetAP{level}", "rbp": "RBP(p=0.9)",
    }  # fmt: skip
    for k in (5, 10, 15, 20, 30, 100, 200, 500, 1000):
        found |= {f"P_{k}": f"P{level}@{k}", f"recall_{k}": f"R{level}@{k}", f"ndcg_cut_{k}": f"nDCG@{k}"}
        found |= {f"map_cut_{k}": f"AP{level}@{k}", f"unj_{k}": f"Judged@{k}"}
    found |= {f"success_{k}": f"Success{level}@{k}" for k in (1, 5, 10)}
    return found | {f"iprec_at_recall_{k / 10:.2f}": f"IPrec{level}@{k / 10}" for k in range(11)}


@pytest.mark.realdata
@pytest.mark.parametrize(("output", "qrels", "run", "complete", "depth", "rel", "count"), OFFICIAL)
def test_the_official_outputs_of_trec_eval(data_dir, output, qrels, run, complete, depth, rel, count):
    from dretrieve.runs.locate import locate
    from dretrieve.runs.read import read_run
    from dretrieve.text.qrels import read_qrels

    folder = data_dir / "eval-truth" / "trec_eval-test"
    hits = read_run(folder / run)
    judgements = read_qrels(folder / qrels)
    located = locate(hits, judgements.passage_ids)
    judged = judge(prepared(located, judgements, RelevanceOptions(depth=depth), []), judgements)
    known = official_names(rel)
    compared = 0
    for line in (folder / output).read_text().splitlines():
        name, query_id, expected = line.split(None, 2)
        if name not in known:
            continue
        (measure,) = parse_measures(known[name])
        values = measure.values(judged)
        if name.startswith("unj"):
            if complete and query_id in ("302", "all"):
                continue  # a query without hits: trec_eval: nothing unjudged; ours: nothing judged
            values = 1 - values
        kept = values if complete else values[judged.retrieved > 0]
        value = (
            measure.aggregate(kept) if query_id == "all" else values[list(judged.query_ids).index(query_id)]
        )
        assert value == pytest.approx(float(expected), abs=5.1e-5), (output, name, query_id)
        compared += 1
    assert compared == count


PUBLISHED = [  # run, nDCG@10 on TREC DL 2019 and 2020 over the whole collection
    ("bm25", 0.5058, 0.4796),
    ("splade_p_p_ensemble_distil", 0.7308, 0.7197),
    ("d_bert_kd_tasb", 0.7210, 0.6854),
    ("rep_llama", 0.7384, 0.7195),
]


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "dl19", "dl20"), PUBLISHED)
def test_published_ndcg_of_published_runs(data_dir, name, dl19, dl20):
    from dretrieve.runs.read import read_run
    from dretrieve.text.qrels import read_qrels

    folder = data_dir / "msmarco-dl19-dl20-pool"
    (measure,) = parse_measures("nDCG@10")
    for year, expected in (("dl19", dl19), ("dl20", dl20)):
        judged = judge(
            read_run(folder / "runs" / f"{name}.{year}.trec"),
            read_qrels(folder / "official" / f"qrels.{year}-passage.txt"),
        )
        assert round(measure.aggregate(measure.values(judged)), 4) == expected


def test_a_name_of_a_million_letters_is_cut():
    with pytest.raises(UsageError) as caught:
        parse_measures("x" * 1_000_000)
    assert len(str(caught.value)) < 1000
