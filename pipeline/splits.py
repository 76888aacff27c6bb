"""Which split an image belongs to: seeded, stratified, and never changed by what arrives later."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from pipeline.dataset.schema import Split


class SplitAssigner:
    """Assigns images of one class after the other, remembering how many each class has in each split.

    The first image of a class goes to train. After n images a class has round(test_fraction * n) in test and
    round(val_fraction * n) in val, in the order of a hash of seed and pixels; since each image is placed knowing only
    the ones before it, a later batch changes nothing.

    Args:
        train_quota: most training images of a class (by name); what is more joins val.
    """

    def __init__(
        self,
        *,
        seed: int,
        val_fraction: float,
        test_fraction: float,
        train_quota: dict[str, int] | None = None,
    ) -> None:
        self._seed = seed
        self._val_fraction = val_fraction
        self._test_fraction = test_fraction
        self._train_quota = train_quota
        self._counts: dict[str, dict[str, int]] = defaultdict(lambda: {"train": 0, "val": 0, "test": 0})

    def reserve(self, splits: Collection[str | None]) -> None:
        """From now on puts no image in those of `splits` that are val or test: the source itself fills them."""
        self._val_fraction = 0.0 if "val" in splits else self._val_fraction
        self._test_fraction = 0.0 if "test" in splits else self._test_fraction

    def assign(
        self, label: str, pixel_hashes: Iterable[str], together: Mapping[str, Counter[str]] | None = None
    ) -> dict[str, Split]:
        """Splits of new images of class `label` that the source puts in no split or in train.

        Args:
            together: for an image that stands for a group which must not be parted, how many of each class the group
                has; the others stand for themselves.
        """
        single = Counter({label: 1})
        return {
            key: self._next(label, (together or {}).get(key, single)) for key in sorted(pixel_hashes, key=self.rank)
        }

    def count(self, split: Split, images: Counter[str]) -> None:
        """Takes note of images that are in a split because others, which they must not be parted from, are."""
        for name, number in images.items():
            self._counts[name][split] += number

    def rank(self, pixel_hash: str) -> bytes:
        """Where an image stands in the order that images are placed in."""
        return hashlib.sha256(f"{self._seed}:{pixel_hash}".encode()).digest()

    def _next(self, label: str, images: Counter[str]) -> Split:
        counts = self._counts[label]
        total = sum(counts.values()) + 1
        split: Split = "train"
        if all(self._counts[name]["train"] for name in images):
            quota = self._train_quota[label] if self._train_quota is not None else None
            if counts["test"] < int(self._test_fraction * total + 0.5):
                split = "test"
            elif counts["val"] < int(self._val_fraction * total + 0.5) or counts["train"] == quota:
                split = "val"
        self.count(split, images)
        return split


def long_tail_quota(labels: Iterable[str], n_max: int, imbalance_ratio: float) -> dict[str, int]:
    """The exponential profile n_i = n_max * r^(-i / (C - 1)), rounded, at least 1 (Cui et al. 2019, section 5.1)."""
    names = list(labels)
    last = max(len(names) - 1, 1)
    return {name: max(1, round(n_max * imbalance_ratio ** (-i / last))) for i, name in enumerate(names)}
