import numpy as np
import pytest

from dretrieve.errors import UsageError
from dretrieve.metrics.measure import Measure, Parameters
from dretrieve.metrics.registry import definition, parse_measures


def test_the_printed_name_is_canonical():
    assert str(Measure(definition("P"), Parameters(k=5, rel=2))) == "P(rel=2)@5"
    assert str(Measure(definition("RBP"), Parameters(p=0.5))) == "RBP(p=0.5)"
    assert str(Measure(definition("IPrec"), Parameters(recall=0.25))) == "IPrec@0.25"
    assert str(Measure(definition("nDCG"))) == "nDCG"


def test_means_and_sums():
    values = np.asarray([1.0, 2.0, 6.0])
    assert parse_measures("nDCG")[0].aggregate(values) == 3
    assert parse_measures("NumRet")[0].aggregate(values) == 9
    assert parse_measures("nDCG")[0].aggregate(np.empty(0)) == 0


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("P", "P needs a number after @, for example P@10"),
        ("IPrec", "IPrec needs a number after @, for example IPrec@0.1"),
        ("Rprec@5", "Rprec takes no cutoff; write Rprec without @5"),
        ("nDCG@0", "the cutoff must be a whole number from 1, got '0'"),
        ("nDCG@ten", "the cutoff must be a whole number from 1, got 'ten'"),
        ("nDCG@1.5", "the cutoff must be a whole number from 1, got '1.5'"),
        ("IPrec@2", "the recall level must be a number from 0 to 1, got '2'"),
        ("P(rel=x)@5", "rel must be a whole number from 1, got 'x'"),
        ("P(rel=0)@5", "rel must be a whole number from 1, got '0'"),
        ("RBP(p=1)", "p must lie between 0 and 1, got 1"),
        ("RBP(p=often)", "p must be a number from 0 to 1, got 'often'"),
        ("nDCG(rel=2)@10", "nDCG has no parameter rel (it takes: dcg)"),
        ("P(p=0.5)@5", "P has no parameter p (it takes: rel)"),
    ],
)
def test_settings_outside_their_range(word, part):
    with pytest.raises(UsageError) as caught:
        parse_measures(word)
    assert part in str(caught.value)
