"""Which image goes to which split, batch after batch: what is equal, alike or of one group is never parted.

An image keeps its split for good. A later copy is dropped; a later look-alike, or a later image of a known group, joins
the split that the earlier ones are in.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.dataset.schema import Split
from pipeline.intake import Refused
from pipeline.near_duplicates import Thumbnails, correlation, near_pairs, perceptual_hash
from pipeline.splits import SplitAssigner
from pipeline.spool import Spool

SPLITS: tuple[Split, ...] = ("train", "val", "test")
PROTECTION = {split: rank for rank, split in enumerate((None, *SPLITS))}  # the last is the most protected
DROPPED = -1
Indices = npt.NDArray[np.int64]


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
    """Remembers of every image that was placed: its pixels' hash, perceptual hash, class, group and split."""

    def __init__(self, assigner: SplitAssigner, alike: Alike, refuse_leaks: bool) -> None:
        self._assigner, self._alike, self._refuse_leaks = assigner, alike, refuse_leaks
        self._keys = np.empty(0, "S32")
        self._labels: list[str] = []
        self._label_of = np.empty(0, np.int32)
        self._split_of = np.empty(0, np.int8)
        self._hashes = np.empty(0, np.uint64)
        self._hashed = np.empty(0, bool)
        self._thumbnails: list[tuple[int, Thumbnails]] = []  # first index of a batch, its thumbnails
        self._groups: dict[str, set[int]] = defaultdict(set)  # splits that a group is in
        self.tally = Tally()

    def place(self, spool: Spool) -> npt.NDArray[np.int8]:
        """The split of each row of a new batch, as an index into SPLITS; DROPPED for a copy or a refused image."""
        batch = _Batch(spool)
        start = len(self._keys)
        self._take_in(batch)
        kept = self._without_copies(batch, start)
        reserved = {hint for row in kept if (hint := batch.hints[row]) is not None}
        self._assigner.reserve(reserved)
        splits = self._split_of[start:]
        single = self._place_bound(batch, kept, start)
        self._place_single(batch, single, splits)
        for row in kept:
            if (group := batch.groups[row]) is not None and splits[row] != DROPPED:
                self._groups[group].add(int(splits[row]))
        return splits.copy()

    def _take_in(self, batch: "_Batch") -> None:
        self._labels += sorted(set(batch.labels) - set(self._labels))
        found = {name: number for number, name in enumerate(self._labels)}
        hashes = [perceptual_hash(small) for small in batch.thumbnails] if self._alike.max_distance >= 0 else []
        hashes += [None] * (len(batch.keys) - len(hashes))
        self._thumbnails.append((len(self._keys), batch.thumbnails))
        self._keys = np.concatenate([self._keys, batch.keys])
        self._label_of = np.concatenate([self._label_of, np.array([found[name] for name in batch.labels], np.int32)])
        self._split_of = np.concatenate([self._split_of, np.full(len(batch.keys), DROPPED, np.int8)])
        self._hashes = np.concatenate([self._hashes, np.array([value or 0 for value in hashes], np.uint64)])
        self._hashed = np.concatenate([self._hashed, np.array([value is not None for value in hashes], bool)])

    def _without_copies(self, batch: "_Batch", start: int) -> list[int]:
        """Rows of new pictures; of equal ones the first, which takes on the most protected of their hints."""
        _, first, inverse = np.unique(self._keys, return_index=True, return_inverse=True)
        first = first[inverse[start:]]
        kept = []
        for row, index in enumerate(first):
            if index == start + row:
                kept.append(row)
            elif self._label_of[index] != self._label_of[start + row]:
                other = self._labels[self._label_of[index]]
                self._refuse(batch, row, f"same picture as one of class {other!r}")
            else:
                self.tally.duplicates += 1
                earlier, hint = int(index) - start, batch.hints[row]
                before = SPLITS[self._split_of[index]] if earlier < 0 else batch.hints[earlier]
                self.tally.leaks += {before, hint} in ({"train", "test"}, {"train", "val"})
                if earlier >= 0:
                    batch.hints[earlier] = max(before, hint, key=PROTECTION.__getitem__)
            if index != start + row:
                self._hashed[start + row] = False
        return kept

    def _refuse(self, batch: "_Batch", row: int, reason: str) -> None:
        self.tally.refused.append(batch.refuse(row, reason))
        self._hashed[len(self._hashed) - len(batch.keys) + row] = False

    def _place_bound(self, batch: "_Batch", kept: list[int], start: int) -> list[int]:
        """Places all rows that others are bound to; returns the rows that are bound to none."""
        components, single = self._components(batch, kept, start)
        units: dict[str, list[tuple[str, list[int]]]] = defaultdict(list)
        for rows, held in components:
            hinted = {SPLITS.index(hint) for row in rows if (hint := batch.hints[row]) is not None}
            if not held | hinted:
                first = min(rows, key=lambda row: self._assigner.rank(batch.hash_of(row)))
                units[batch.labels[first]].append((batch.hash_of(first), rows))
                continue
            self._join(batch, rows, held, hinted, start)
        for label in sorted(units, key=self._labels.index):
            together = {key: Counter(batch.labels[row] for row in rows) for key, rows in units[label]}
            placed = self._assigner.assign(label, together, together)
            for key, rows in units[label]:
                self._split_of[start + np.array(rows)] = SPLITS.index(placed[key])
        return single

    def _join(self, batch: "_Batch", rows: list[int], held: set[int], hinted: set[int], start: int) -> None:
        """Puts rows where the images that they are bound to are; a training image bound to a held-out one is a leak."""
        target = max(held | hinted)
        for row in rows:
            hint = batch.hints[row]
            split = target if hint is None else SPLITS.index(hint)
            parted = split != target or len(held) > 1
            if parted and self._refuse_leaks and (split < target or len(held) > 1):
                self.tally.leaks += 1
                self._refuse(batch, row, f"copy, look-alike or of one group with an image in {SPLITS[target]}")
                continue
            self.tally.leaks += parted
            self._split_of[start + row] = split
            if hint is None:
                self._assigner.count(SPLITS[split], Counter([batch.labels[row]]))

    def _components(
        self, batch: "_Batch", kept: list[int], start: int
    ) -> tuple[list[tuple[list[int], set[int]]], list[int]]:
        """Rows bound together, with the splits that earlier images bound to them are in; and rows bound to nothing."""
        pairs = self._near(start)
        self.tally.near_duplicates += len({int(max(pair)) for pair in pairs})
        names = {group: number for number, group in enumerate(sorted({g for g in batch.groups if g is not None}))}
        size = len(self._keys)
        edges = [(int(a), int(b)) for a, b in pairs]
        edges += [(start + row, size + names[g]) for row in kept if (g := batch.groups[row]) is not None]
        if not edges:
            return [], kept
        one, other = np.array(edges, np.int64).T
        graph = coo_array((np.ones(len(edges), np.int8), (one, other)), shape=(size + len(names),) * 2)
        _, component = connected_components(graph, directed=False)
        bound = np.unique(np.concatenate([one, other]))
        rows: dict[int, list[int]] = defaultdict(list)
        held: dict[int, set[int]] = defaultdict(set)
        known = dict(zip(names.values(), names, strict=True))
        for node in bound:
            found = int(component[node])
            if node >= size:
                held[found] |= self._groups.get(known[int(node) - size], set())
            elif node >= start:
                rows[found].append(int(node) - start)
            elif self._split_of[node] != DROPPED:
                held[found].add(int(self._split_of[node]))
        taken = {row for inside in rows.values() for row in inside}
        return [(inside, held[found]) for found, inside in rows.items()], [row for row in kept if row not in taken]

    def _near(self, start: int) -> Indices:
        """Pairs of look-alikes [P, 2] of which one is new."""
        if self._alike.max_distance < 0:
            return np.empty((0, 2), np.int64)
        there = np.flatnonzero(self._hashed)
        new_from = int(np.searchsorted(there, start))
        pairs = there[near_pairs(self._hashes[there], self._alike.max_distance, new_from)]
        if not len(pairs):
            return np.empty((0, 2), np.int64)
        sure = [
            correlation(self._small(part[:, 0]), self._small(part[:, 1])) >= self._alike.min_correlation
            for part in np.array_split(pairs, range(1000, len(pairs), 1000))
        ]
        return pairs[np.concatenate(sure)]

    def _small(self, indices: Indices) -> Thumbnails:
        starts = np.array([first for first, _ in self._thumbnails])
        batch = np.searchsorted(starts, indices, side="right") - 1
        return np.stack([self._thumbnails[b][1][i - starts[b]] for b, i in zip(batch, indices, strict=True)])

    def _place_single(self, batch: "_Batch", rows: list[int], splits: npt.NDArray[np.int8]) -> None:
        free: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            if (hint := batch.hints[row]) in ("val", "test"):
                splits[row] = SPLITS.index(hint)
            else:
                free[batch.labels[row]].append(row)
        for label in sorted(free, key=self._labels.index):
            by_hash = {batch.hash_of(row): row for row in free[label]}
            for key, split in self._assigner.assign(label, by_hash).items():
                splits[by_hash[key]] = SPLITS.index(split)


class _Batch:
    """The columns of a batch that placing needs; equal texts are held once."""

    def __init__(self, spool: Spool) -> None:
        self._table = spool.files
        self.labels, self.hints, self.groups = (_texts(self._table[name]) for name in ("label", "hint", "group"))
        hashes = self._table["pixel_hash"]
        self.keys = np.fromiter((bytes.fromhex(value.as_py()) for value in hashes), "S32", len(hashes))
        self.thumbnails = spool.thumbnails

    def hash_of(self, row: int) -> str:
        """The hash of a row's pixels, in hexadecimal digits."""
        return bytes(self.keys[row]).ljust(32, b"\0").hex()

    def refuse(self, row: int, reason: str) -> Refused:
        """Notes why a row is not used."""
        told = self._table.slice(row, 1).to_pylist()[0]
        return Refused(told["name"], reason, told["sha256"], told["bytes"])


def _texts(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    encoded = column.combine_chunks().dictionary_encode()
    texts = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    found: npt.NDArray[np.object_] = texts[encoded.indices.fill_null(len(texts) - 1).to_numpy()]
    return found
