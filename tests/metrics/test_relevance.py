import pytest

from dretrieve.errors import DataError
from dretrieve.metrics.options import RelevanceOptions
from dretrieve.metrics.registry import parse_measures
from dretrieve.metrics.relevance import score_relevance
from dretrieve.runs.read import RunFile
from dretrieve.runs.write import write_run
from dretrieve.text.qrels import qrels_of
from tests.common import run_of


@pytest.fixture
def score():
    def call(hits, judgements, names="RR", **options):
        return score_relevance(
            "r", run_of(hits), qrels_of(judgements), parse_measures(names), RelevanceOptions(**options)
        )

    return call


def test_judged_queries_without_hits_count_as_zero_and_are_named(score):
    scores = score({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 1}})
    assert scores.means() == {"RR": 0.5}
    assert scores.notes == ["1 of 2 judged queries have no hits; they count as 0"]


def test_retrieved_only_leaves_them_out_and_says_so(score):
    scores = score({"q1": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 1}}, retrieved_only=True)
    assert scores.means() == {"RR": 1.0}
    assert scores.query_ids == ["q1"]
    assert scores.notes == ["1 judged queries have no hits and are left out (--retrieved-only)"]


def test_queries_without_judgements_are_left_out_and_named(score):
    scores = score({"q1": {"a": 1.0}, "q9": {"a": 1.0}}, {"q1": {"a": 1}})
    assert scores.query_ids == ["q1"]
    assert scores.notes == ["1 queries of the run have no judgements; they are left out"]


def test_queries_without_relevant_passages_are_named(score):
    scores = score({"q1": {"a": 1.0}, "q2": {"a": 1.0}}, {"q1": {"a": 1}, "q2": {"a": 0}})
    assert scores.means() == {"RR": 0.5}
    assert scores.notes == ["1 queries have no relevant passage in the qrels; they count as 0"]


def test_another_split_is_refused(score):
    with pytest.raises(DataError) as caught:
        score({"dev-1": {"a": 1.0}}, {"test-1": {"a": 1}})
    assert str(caught.value) == (
        "none of the 1 queries of run r is judged (the run has 'dev-1', the qrels have 'test-1'); "
        "name the qrels of the split that was searched"
    )


def test_another_corpus_is_noticed(score):
    scores = score({"q": {"doc-7": 1.0}}, {"q": {"7": 1}})
    assert scores.means() == {"RR": 0.0}
    assert scores.notes == [
        "no hit is judged at all (judged passages are like '7'): was another corpus searched?"
    ]


def test_the_query_itself_is_dropped_only_when_asked(score):
    hits, judgements = {"a": {"a": 3.0, "b": 2.0}}, {"a": {"b": 1}}
    kept = score(hits, judgements)
    assert kept.means() == {"RR": 0.5}
    assert kept.notes == ["1 hits have the id of their query; BEIR's figures leave these out: --drop-self"]
    dropped = score(hits, judgements, drop_self=True)
    assert dropped.means() == {"RR": 1.0}
    assert dropped.notes == ["1 hits that are the query itself were dropped (--drop-self)"]


def test_unjudged_hits_are_dropped_when_asked(score):
    scores = score({"q": {"x": 3.0, "a": 2.0}}, {"q": {"a": 1}}, judged_only=True)
    assert scores.means() == {"RR": 1.0}
    assert scores.notes == ["1 hits without judgement were dropped (--judged-only)"]


def test_depth_cuts_before_measuring_and_after_dropping(score):
    hits, judgements = {"a": {"a": 3.0, "x": 2.0, "b": 1.0}}, {"a": {"b": 1}}
    assert score(hits, judgements, depth=2).means() == {"RR": 0.0}
    assert score(hits, judgements, depth=2, drop_self=True).means() == {"RR": 0.5}


def test_depth_cuts_before_unjudged_hits_go(score):
    """trec_eval -M 1 -J looks at the first hit, and it is not judged."""
    scores = score({"q": {"x": 3.0, "a": 2.0}}, {"q": {"a": 1}}, "RR NumRet", depth=1, judged_only=True)
    assert scores.means() == {"RR": 0.0, "NumRet": 0.0}


def test_a_query_whose_hits_are_all_unjudged_is_still_one_of_the_runs(score):
    hits, judgements = {"q1": {"a": 1.0}, "q2": {"x": 1.0}}, {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}}
    scores = score(hits, judgements, "RR NumRet", judged_only=True, retrieved_only=True)
    assert scores.per_query() == {"q1": {"RR": 1.0, "NumRet": 1.0}, "q2": {"RR": 0.0, "NumRet": 0.0}}
    assert scores.notes == [
        "1 hits without judgement were dropped (--judged-only)",
        "1 judged queries have no hits and are left out (--retrieved-only)",
    ]


def test_equality_with_pytrec_evals_judged_only(score, random_pair):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    for seed in range(20):
        hits, judgements = random_pair(seed)
        hits["q0"] = {"never judged": 1.0}
        evaluator = pytrec_eval.RelevanceEvaluator(judgements, {"map", "num_ret"}, judged_docs_only_flag=True)
        theirs = evaluator.evaluate(hits)
        ours = score(hits, judgements, "AP NumRet", judged_only=True, retrieved_only=True).per_query()
        assert set(ours) == set(theirs)
        for query_id, found in theirs.items():
            assert ours[query_id] == pytest.approx({"AP": found["map"], "NumRet": found["num_ret"]})


def test_a_file_and_the_run_in_it_have_the_same_values(score, tmp_path, random_pair):
    for seed in range(5):
        hits, judgements = random_pair(seed, -1)
        hits["d3"], judgements["d3"] = hits.pop("q0"), judgements.pop("q0")
        path = tmp_path / f"{seed}.trec"
        write_run(path, run_of(hits))
        for options in ({}, {"drop_self": True, "depth": 7}, {"judged_only": True}, {"retrieved_only": True}):
            one = score(hits, judgements, "nDCG@5 AP Judged@9 NumRet", **options)
            two = score_relevance(
                "r",
                RunFile(path),
                qrels_of(judgements),
                parse_measures("nDCG@5 AP Judged@9 NumRet"),
                RelevanceOptions(**options),
            )
            assert one.per_query() == two.per_query()
            assert one.notes == two.notes


def test_ranks_move_up_when_the_query_itself_goes(score):
    hits = {"a": {"x": 4.0, "a": 3.0, "b": 2.0, "c": 1.0}, "b": {"b": 9.0, "c": 8.0}}
    judgements = {"a": {"b": 1, "c": 1}, "b": {"c": 1}}
    scores = score(hits, judgements, "AP RR NumRet", drop_self=True)
    assert scores.per_query() == {
        "a": {"AP": pytest.approx((1 / 2 + 2 / 3) / 2), "RR": 0.5, "NumRet": 3.0},
        "b": {"AP": 1.0, "RR": 1.0, "NumRet": 1.0},
    }


def test_notes_say_where_queries_do_not_count_as_0(score):
    hits, judgements = {"q1": {"x": 1.0}}, {"q1": {"x": 0}, "gone": {"a": 1}}
    assert score(hits, judgements, "RR NumQ GMAP NumRel").notes == [
        "1 of 2 judged queries have no hits; they count as 0, but not in NumQ, GMAP, NumRel",
        "1 queries have no relevant passage in the qrels; they count as 0, but not in NumQ, GMAP",
    ]
