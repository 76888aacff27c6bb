"""Spends a budget of images, one by one, where the next is expected to raise balanced accuracy most.

Errors fall ever more slowly along a power law, so that taking the best next image each time is the best plan.
"""

import heapq
from typing import Annotated

import numpy as np
from pydantic import Field

from pipeline.params import section
from pipeline.strategies import Ints, Limits, Situation, shortages


@section
class Params:
    """Options of the strategy.

    Attributes:
        budget: images to add in all; None for as many as would bring every class to the target.
    """

    budget: Annotated[int, Field(ge=0)] | None


def plan(situation: Situation, limits: Limits, params: Params) -> tuple[Ints, Ints]:
    """Spends the budget; what one means may not make the other does."""
    most_augmented, most_synthesized = limits.most(situation.counts)
    most = most_augmented + most_synthesized
    wanted = int(np.minimum(shortages(situation, limits.target, "even"), most).sum())
    added = spend(wanted if params.budget is None else params.budget, situation, most)
    augment = np.rint(limits.augment_share * added).astype(np.int64)
    augment = np.minimum(np.maximum(augment, added - most_synthesized), most_augmented)
    return augment, added - augment


def spend(budget: int, situation: Situation, most: Ints) -> Ints:
    """How many of `budget` images go to each class, [C], at most `most`; none where nothing is expected of it."""
    added = np.zeros(len(most), dtype=np.int64)

    def next_gain(label: int) -> float:
        size = float(situation.counts[label] + situation.worth * added[label])
        scale, exponent = float(situation.curves.scale[label]), float(situation.curves.exponent[label])
        return float(scale * (size**-exponent - (size + situation.worth) ** -exponent))

    waiting = [(-next_gain(label), label) for label in range(len(most)) if most[label]]
    heapq.heapify(waiting)
    for _ in range(budget):
        if not waiting or waiting[0][0] >= 0:
            break
        _, label = waiting[0]
        added[label] += 1
        if added[label] < most[label]:
            heapq.heapreplace(waiting, (-next_gain(label), label))
        else:
            heapq.heappop(waiting)
    return added
