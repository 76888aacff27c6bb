"""Which image goes to which split, batch after batch: what is equal, alike or of one group is never parted.

An image keeps its split for good. A later copy is dropped; a later look-alike, or a later image of a known group, joins
the split that the earlier ones are in. In memory an image costs 19 bytes; what is rarely asked for stays on disk.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.dataset.columns import smallest
from pipeline.dataset.schema import Split
from pipeline.intake import Refused
from pipeline.near_duplicates import Indices, Mask, components, correlation, first_equal, near_pairs
from pipeline.splits import SplitAssigner
from pipeline.spool import Spool, take

SPLITS: tuple[Split, ...] = ("train", "val", "test")  # the last is the most protected
DROPPED = NO_HINT = NO_GROUP = -1
SOME = 1000  # images whose thumbnails or hashes are in memory at once


@dataclass(frozen=True)
class Alike:
    """When two images count as near-duplicates.

    Attributes:
        max_distance: bits of 64 in which their perceptual hashes may differ.
        min_correlation: what their thumbnails' correlation must reach beside that.
    """

    max_distance: int
    min_correlation: float


@dataclass
class Tally:
    """What was found on the way.

    Attributes:
        duplicates: files dropped, since the same picture of the same class is there already.
        near_duplicates: images that are alike an earlier one.
        leaks: training images refused, since a copy, look-alike or image of their group is held out.
    """

    duplicates: int = 0
    near_duplicates: int = 0
    leaks: int = 0
    refused: list[Refused] = field(default_factory=list)


class Ledger:
    """Remembers of every image that was placed: its pixels' hash, perceptual hash, class and split; and all groups."""

    def __init__(self, assigner: SplitAssigner, alike: Alike, refuse_leaks: bool) -> None:
        self._assigner, self._alike, self._refuse_leaks = assigner, alike, refuse_leaks
        self._spools: list[tuple[int, Spool]] = []  # index of a batch's first image, the batch
        self._labels: list[str] = []
        self._keys = np.empty(0, np.uint64)  # beginnings of the hashes of the pixels
        self._hashes = np.empty(0, np.uint64)
        self._compared = np.empty(0, bool)
        self._label_of = np.empty(0, np.int8)  # larger where the classes are many
        self._split_of = np.empty(0, np.int8)
        self._groups: dict[str, int] = defaultdict(int)  # splits that a group is in, a bit each
        self.tally = Tally()

    def place(self, spool: Spool) -> npt.NDArray[np.int8]:
        """The split of each row of a new batch, as an index into SPLITS; DROPPED for a copy or a refused image."""
        start = len(self._keys)
        self._take_in(spool, start)
        batch = _Batch(spool, start)
        self._drop_copies(batch)
        self._assigner.reserve({SPLITS[hint] for hint in np.unique(batch.hints[batch.kept]) if hint != NO_HINT})
        bound = self._place_bound(batch)
        self._place_single(batch, batch.kept & ~bound)
        splits = self._split_of[start:]
        grouped = np.flatnonzero((batch.group_of != NO_GROUP) & (splits != DROPPED))
        for group, split in np.unique(np.stack([batch.group_of[grouped], splits[grouped]]), axis=1).T:
            self._groups[batch.groups[group]] |= 1 << int(split)
        self.tally.refused += batch.refusals()
        return splits.copy()

    def _take_in(self, spool: Spool, start: int) -> None:
        self._spools.append((start, spool))
        labels, size = spool.codes("label"), len(spool.hashes)
        self._labels += sorted(set(labels.texts) - set(self._labels))
        number_of = np.array([self._labels.index(text) for text in labels.texts], smallest(len(self._labels)))
        self._label_of = np.concatenate([self._label_of, number_of[labels.numbers]])
        self._split_of = np.concatenate([self._split_of, np.full(size, DROPPED, np.int8)])
        self._keys, self._hashes = (
            np.concatenate([old, np.empty(size, np.uint64)]) for old in (self._keys, self._hashes)
        )
        for block in spool.hashes.blocks():
            end = start + len(block)
            self._keys[start:end] = np.ascontiguousarray(block["pixels"][:, :8]).view(np.uint64)[:, 0]
            self._hashes[start:end] = block["picture"]
            start = end
        can_be = self._hashes[len(self._compared) :] != 0
        self._compared = np.concatenate([self._compared, can_be & (self._alike.max_distance >= 0)])

    def _drop_copies(self, batch: "_Batch") -> None:
        """Keeps new pictures; of equal ones the first, which takes on the most protected of their hints."""
        for index, first in self._copies(batch.start):
            row, earlier = index - batch.start, first - batch.start
            batch.kept[row] = self._compared[index] = False
            if self._label_of[first] != self._label_of[index]:
                other = self._labels[self._label_of[first]]
                batch.refused.append((row, f"same picture as one of class {other!r}"))
                continue
            self.tally.duplicates += 1
            # What was refused of an earlier batch was like an image that is held out.
            held = len(SPLITS) - 1 if self._split_of[first] == DROPPED else int(self._split_of[first])
            before, hint = held if earlier < 0 else int(batch.hints[earlier]), int(batch.hints[row])
            self.tally.leaks += SPLITS.index("train") in {before, hint} and max(before, hint) > 0
            if earlier >= 0:
                batch.hints[earlier] = max(before, hint)

    def _copies(self, new_from: int) -> Iterator[tuple[int, int]]:
        """Indices of new images with that of the first of the same pixels, which their keys only begin to say."""
        pairs = np.stack(first_equal(self._keys, new_from), axis=1)
        for part in _some(pairs):
            one, other = (take(self._spools, "hashes", part[:, side])["pixels"] for side in (0, 1))
            yield from map(tuple, part[(one == other).all(1)].tolist())

    def _place_bound(self, batch: "_Batch") -> Mask:
        """Places all rows that others are bound to; returns which they are."""
        units: dict[int, list[tuple[str, Indices]]] = defaultdict(list)
        bound = np.zeros(len(batch.kept), bool)
        for rows, held in self._components(batch):
            bound[rows] = True
            hinted = int(np.bitwise_or.reduce(1 << batch.hints[rows][batch.hints[rows] != NO_HINT].astype(np.int64)))
            if held | hinted:
                self._join(batch, rows, held, hinted)
                continue
            hashes = batch.pixel_hashes(rows)
            first = min(range(len(rows)), key=lambda place: self._assigner.rank(hashes[place]))
            units[int(self._label_of[batch.start + rows[first]])].append((hashes[first], rows))
        for label in sorted(units):
            together = {key: self._classes(batch.start + rows) for key, rows in units[label]}
            placed = self._assigner.assign(self._labels[label], together, together)
            for key, rows in units[label]:
                self._split_of[batch.start + rows] = SPLITS.index(placed[key])
        return bound

    def _join(self, batch: "_Batch", rows: Indices, held: int, hinted: int) -> None:
        """Puts rows where the images that they are bound to are; a training image bound to a held-out one is a leak."""
        target, torn = (held | hinted).bit_length() - 1, held.bit_count() > 1
        for row in rows.tolist():
            hint = int(batch.hints[row])
            split = target if hint == NO_HINT else hint
            parted = split != target or torn
            self.tally.leaks += parted
            if parted and self._refuse_leaks and (split < target or torn):
                self._compared[batch.start + row] = False
                batch.refused.append((row, f"copy, look-alike or of one group with an image in {SPLITS[target]}"))
                continue
            self._split_of[batch.start + row] = split
            if hint == NO_HINT:
                self._assigner.count(SPLITS[split], self._classes([batch.start + row]))

    def _classes(self, indices: Indices | list[int]) -> Counter[str]:
        """How many of some images are of which class."""
        return Counter(self._labels[number] for number in self._label_of[indices])

    def _components(self, batch: "_Batch") -> Iterator[tuple[Indices, int]]:
        """Rows bound together, with the splits (a bit each) that earlier images bound to them are in."""
        pairs, size = self._near(batch.start), len(self._keys)
        self.tally.near_duplicates += len(np.unique(pairs.max(1)))
        grouped = np.flatnonzero(batch.kept & (batch.group_of != NO_GROUP))
        pairs = np.concatenate(
            [pairs, np.stack([batch.start + grouped, size + batch.group_of[grouped].astype(np.int64)], axis=1)]
        )
        if not len(pairs):
            return
        nodes, component = components(pairs)
        held = np.zeros(component.max() + 1, np.int64)
        old = np.flatnonzero(nodes < batch.start)
        old = old[self._split_of[nodes[old]] != DROPPED]
        np.bitwise_or.at(held, component[old], 1 << self._split_of[nodes[old]].astype(np.int64))
        for place in np.flatnonzero(nodes >= size):
            held[component[place]] |= self._groups.get(batch.groups[nodes[place] - size], 0)
        new = np.flatnonzero((nodes >= batch.start) & (nodes < size))
        new = new[np.argsort(component[new], kind="stable")]
        members = np.split(nodes[new] - batch.start, np.flatnonzero(np.diff(component[new])) + 1)
        for rows in sorted(members, key=lambda rows: int(rows[0])):
            yield rows, int(held[component[np.searchsorted(nodes, batch.start + rows[0])]])

    def _near(self, start: int) -> Indices:
        """Pairs of look-alikes [P, 2] of which one is new."""
        pairs = near_pairs(self._hashes, max(0, self._alike.max_distance), start, self._compared)
        sure = [np.empty((0, 2), np.int64)]
        for part in _some(pairs):
            one, other = (take(self._spools, "thumbnails", part[:, side]) for side in (0, 1))
            sure.append(part[correlation(one, other) >= self._alike.min_correlation])
        return np.concatenate(sure)

    def _place_single(self, batch: "_Batch", single: Mask) -> None:
        splits, labels = self._split_of[batch.start :], self._label_of[batch.start :]
        held_out = single & (batch.hints > SPLITS.index("train"))
        splits[held_out] = batch.hints[held_out]
        free = single & ~held_out
        for label in np.unique(labels[free]):
            rows = np.flatnonzero(free & (labels == label))
            rows = rows[np.argsort(batch.ranks(rows, self._assigner))]
            for some in _some(rows):
                by_hash = dict(zip(batch.pixel_hashes(some), some, strict=True))
                for key, split in self._assigner.assign(self._labels[label], by_hash).items():
                    splits[by_hash[key]] = SPLITS.index(split)


class _Batch:
    """A new batch while it is placed.

    Attributes:
        start: index of its first image.
        hints: int8 [N], the splits that the source puts its images in.
        group_of: int8 or larger [N], their groups as places in `groups`.
        kept: its images that are no copies.
        refused: rows that are not used, and why.
    """

    def __init__(self, spool: Spool, start: int) -> None:
        self._spool, self.start = spool, start
        hints, groups = spool.codes("hint"), spool.codes("group")
        self.hints = np.array([*(SPLITS.index(text) for text in hints.texts), NO_HINT], np.int8)[hints.numbers]
        self.group_of, self.groups = groups.numbers, groups.texts
        self.kept = np.ones(len(self.hints), bool)
        self.refused: list[tuple[int, str]] = []

    def pixel_hashes(self, rows: Indices) -> list[str]:
        """The hash of each row's pixels, in hexadecimal digits."""
        return [pixels.tobytes().hex() for pixels in self._spool.hashes.take(rows)["pixels"]]

    def ranks(self, rows: Indices, assigner: SplitAssigner) -> npt.NDArray[np.uint64]:
        """The beginnings of the rows' ranks, uint64 [N]."""
        hashes = (key for some in _some(rows) for key in self.pixel_hashes(some))
        return np.fromiter((int.from_bytes(assigner.rank(key)[:8], "big") for key in hashes), np.uint64, len(rows))

    def refusals(self) -> list[Refused]:
        """The refused rows as files."""
        rows = np.unique(np.array([row for row, _ in self.refused], np.int64))
        told = dict(zip(rows.tolist(), self._spool.told(rows), strict=True))
        return [Refused(told[row]["name"], why, told[row]["sha256"], told[row]["bytes"]) for row, why in self.refused]


def _some(rows: Indices) -> Iterator[Indices]:
    for start in range(0, len(rows), SOME):
        yield rows[start : start + SOME]
