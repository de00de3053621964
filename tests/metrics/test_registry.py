import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import UsageError
from dretrieve.metrics.judged import judge
from dretrieve.metrics.measure import Measure, Parameters
from dretrieve.metrics.registry import MODULES, definition, names, parse_measures
from dretrieve.text.qrels import qrels_of


def printed(text):
    return [str(measure) for measure in parse_measures(text)]


def test_every_module_defines_the_measure_of_its_row():
    assert len(MODULES) == 19
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
    ],
)
def test_other_tools_spellings(word, expected):
    assert printed(word) == expected


def test_recip_rank_with_a_cutoff_is_explained():
    with pytest.raises(UsageError, match=r"recip_rank takes no cutoff \(it needs -M\); write RR@10"):
        parse_measures("recip_rank.10")


def test_all_unknown_names_at_once_with_the_legal_ones():
    with pytest.raises(UsageError) as caught:
        parse_measures("nDCG@10 ndgc@10 gm_map wibble@3")
    message = str(caught.value)
    assert message.startswith("ndgc@10, gm_map, wibble@3 are no measures (did you mean nDCG?)")
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
    def build(name, k, recall, rel, p):
        known = definition(name)
        given_k = {"none": None, "recall": None, "required": k or 1}.get(known.cutoff, k)
        return Measure(
            known,
            Parameters(
                k=given_k,
                recall=recall / 100 if known.cutoff == "recall" else 0.0,
                rel=rel if "rel" in known.parameters else 1,
                p=p / 100 if "p" in known.parameters else 0.8,
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
    )


@given(measures())
def test_names_round_trip(measure):
    assert parse_measures(str(measure)) == [measure]


def test_values_stay_between_zero_and_one(random_pair, run_of):
    wanted = parse_measures(
        "nDCG nDCG@3 RR RR@2 R@7 P@7 AP AP@7 Success@2 Rprec Judged@9 Bpref IPrec@0.4 RBP SetP SetR SetF"
    )
    for seed in range(20):
        hits, judgements = random_pair(seed, -1)
        judged = judge(run_of(hits), qrels_of(judgements))
        for measure in wanted:
            values = measure.values(judged)
            assert values.shape == (5,)
            assert ((values >= 0) & (values <= 1 + 1e-12)).all(), (seed, str(measure))


def test_a_perfect_ranking_has_value_one(run_of):
    judgements = {"q": {"a": 3, "b": 2, "c": 1}}
    judged = judge(run_of({"q": {"a": 3.0, "b": 2.0, "c": 1.0}}), qrels_of(judgements))
    for name in (
        "nDCG",
        "nDCG@2",
        "RR",
        "AP",
        "Rprec",
        "R@3",
        "P@3",
        "Success@1",
        "Bpref",
        "IPrec@1",
        "Judged@3",
        "SetP",
        "SetR",
        "SetF",
        "SetAP",
    ):
        assert parse_measures(name)[0].values(judged)[0] == pytest.approx(1), name


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
def test_equality_with_pytrec_eval_on_200_random_runs_with_ties(random_pair, run_of, rel):
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


# trec_eval's own test files: expected output, qrels, run, -c, -M, -l.
OFFICIAL = [
    ("out.test", "qrels.test", "results.test", False, None, 1, 28),
    ("out.test.a", "qrels.test", "results.test", False, None, 1, 67),
    ("out.test.aq", "qrels.test", "results.test", False, None, 1, 265),
    ("out.test.aqc", "qrels.test", "results.trunc", True, None, 1, 259),
    ("out.test.aqcM", "qrels.test", "results.trunc", True, 100, 1, 259),
    ("out.test.aql", "qrels.rel_level", "results.test", False, None, 2, 265),
]


def official_names(rel):
    level = f"(rel={rel})" if rel > 1 else ""
    found = {
        "map": f"AP{level}", "Rprec": f"Rprec{level}", "bpref": f"Bpref{level}", "recip_rank": f"RR{level}",
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
    from dretrieve.text.qrels import read_qrels
    from dretrieve.text.run_select import first_hits
    from dretrieve.text.runs import read_run

    folder = data_dir / "eval-truth" / "trec_eval-test"
    hits = read_run(folder / run)
    judged = judge(first_hits(hits, depth) if depth else hits, read_qrels(folder / qrels))
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
    from dretrieve.text.qrels import read_qrels
    from dretrieve.text.runs import read_run

    folder = data_dir / "msmarco-dl19-dl20-pool"
    (measure,) = parse_measures("nDCG@10")
    for year, expected in (("dl19", dl19), ("dl20", dl20)):
        judged = judge(
            read_run(folder / "runs" / f"{name}.{year}.trec"),
            read_qrels(folder / "official" / f"qrels.{year}-passage.txt"),
        )
        assert round(measure.aggregate(measure.values(judged)), 4) == expected
