"""ERR@k: the expected reciprocal rank at which a reader who goes down the list is satisfied.

Chapelle, Metzler, Zhang and Grinspan, CIKM 2009: a hit of grade g satisfies with probability
R = (2^g - 1) / 2^max; ERR@k = sum over ranks r <= k of (1/r) * R_r * product over earlier ranks of (1 - R).
The largest grade is a constant, 4 as in TREC's gdeval, not the largest of the judgements at hand: figures of
two collections mean the same. Another one is named, ``ERR(max=3)@20``. Grades below 0 satisfy nobody.
"""

from __future__ import annotations

import numpy as np

from dretrieve.errors import DataError
from dretrieve.metrics.judged import Judged, Values, count_in_group
from dretrieve.metrics.measure import Parameters, measure


@measure("ERR", cutoff="optional", parameters=("max",))
def expected_reciprocal_rank(judged: Judged, parameters: Parameters) -> Values:
    """Return ERR of every query: [Q], 0 to 1.

    Raises:
        DataError: a judgement is above the largest grade.
    """
    highest = int(judged.qrel_grade.max(initial=0))
    if highest > parameters.max:
        raise DataError(
            f"ERR takes grades up to {parameters.max} and a judgement is {highest}; name the largest grade "
            f"of the scale, ERR(max={highest})"
        )
    kept = (judged.grade >= 1) & (judged.rank <= (parameters.k or judged.rank))
    query, rank = judged.query[kept], judged.rank[kept]
    satisfied = (np.exp2(judged.grade[kept].astype(np.float64)) - 1) / 2.0**parameters.max
    value, left = np.zeros(len(judged)), np.ones(len(judged))
    place = count_in_group(query)
    for turn in range(1, int(place.max(initial=0)) + 1):  # the next relevant hit of every query that has one
        hit = np.flatnonzero(place == turn)
        value[query[hit]] += left[query[hit]] * satisfied[hit] / rank[hit]
        left[query[hit]] *= 1 - satisfied[hit]
    return value
