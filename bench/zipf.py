"""Walks over URLs that are asked for as pages of a site are: few often, most of them seldom.

The page of rank r is asked for with a probability in proportion to r^-s. Breslau, Cao, Fan,
Phillips, Shenker ("Web caching and Zipf-like distributions", INFOCOM 1999) found s between 0.64 and
0.83 at the proxies of many sites; YCSB (Cooper et al., SoCC 2010) made 0.99 the usual one of a
single popular service.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

EXPONENT = 0.99
SEED = 20261126  # any: the same walk each time, so that runs can be compared

T = TypeVar("T")


def zipf_walk(
    items: Sequence[T], length: int, *, exponent: float = EXPONENT, seed: int = SEED
) -> list[T]:
    """Return ``length`` draws from ``items``, which are ordered by popularity, most popular first.

    The same arguments give the same walk.
    """
    weights = list(accumulate((rank + 1) ** -exponent for rank in range(len(items))))
    return random.Random(seed).choices(items, cum_weights=weights, k=length)
