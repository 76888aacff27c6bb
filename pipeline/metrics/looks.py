"""How often the same test images have been looked at, and what error the next look may still make.

A look is a set of classifiers asked about the test images. Each asks a new question, chosen with the answers to earlier
ones in mind, of images that stay the same. Nothing accrues on one question, which the boundaries of group-sequential
trials live on (O'Brien and Fleming 1979; Lan and DeMets 1983). What holds for any questions in any order, without a
planned number of them, is a series of levels that sums to the budget (Bonferroni; the alpha-investing of Foster and
Stine 2008 without its earnings): look k gets budget / (k (k + 1)), and k looks together spend budget k / (k + 1).

`looks.json` remembers the looks and is kept in git. `evaluate` finds the number of its own look in it, and adds it
where it is not there: the same classifiers asked again are the same look and give the same result.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

KEY = "test_splits"
SAMPLE = 64  # images by which a test split is known again
DIGITS = 16  # hexadecimal digits of a look or an image that are kept


@dataclass(frozen=True)
class Look:
    """One look and what it may err.

    Attributes:
        number: 1 for the first at these test images.
        budget: chance of a wrong `ship` that all looks at these test images may take together.
        test_split: which split it is, as params.yaml numbers them.
    """

    number: int
    budget: float
    test_split: int = 1

    @property
    def alpha(self) -> float:
        """What this look may spend."""
        return self.budget / (self.number * (self.number + 1))

    @property
    def spent(self) -> float:
        """What this look and those before it have spent."""
        return self.budget * self.number / (self.number + 1)


@dataclass(frozen=True)
class TestSplit:
    """Test images that have been looked at.

    Attributes:
        number: `evaluate.test_split` of params.yaml at that time.
        images: a sample of its images, which they are known again by.
        looks: fingerprints in the order of the looks.
    """

    __test__ = False

    number: int
    images: tuple[str, ...]
    looks: tuple[str, ...]

    def is_of(self, number: int, images: frozenset[str]) -> bool:
        """Whether test images are the ones looked at: at least half of those are still among them."""
        return self.number == number and 2 * sum(image in images for image in self.images) >= len(self.images)


def level_text(alpha: float) -> str:
    """The level of an interval in per cent, with as many digits as tell it from 100 %: 97.5 %, 99.9986 %."""
    digits = max(0, 1 - math.floor(math.log10(100 * alpha)))
    return f"{round(100 * (1 - alpha), digits):.12g} %"


def fingerprint(parts: Iterable[bytes]) -> str:
    """What a look is known again by: a digest of the classifiers and test images."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:DIGITS]


def known_by(images: Sequence[str]) -> frozenset[str]:
    """Digests of images' names, which say of an image that it is the same one at whatever size it is used."""
    return frozenset(hashlib.sha256(image.encode()).hexdigest()[:DIGITS] for image in images)


def take(
    splits: Sequence[TestSplit], number: int, images: frozenset[str], look: str, budget: float
) -> tuple[tuple[TestSplit, ...], Look]:
    """The ledger with the look in it, and its number; a look that is there already keeps its number."""
    place = next((place for place, split in enumerate(splits) if split.is_of(number, images)), len(splits))
    known = [*splits, TestSplit(number, tuple(sorted(images)[:SAMPLE]), ())] if place == len(splits) else [*splits]
    if look not in known[place].looks:
        known[place] = replace(known[place], looks=(*known[place].looks, look))
    return tuple(known), Look(known[place].looks.index(look) + 1, budget, number)


def read(path: Path) -> tuple[TestSplit, ...]:
    """The looks so far; none where there is no file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return ()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))[KEY]
        return tuple(TestSplit(int(e["number"]), tuple(e["images"].split()), tuple(e["looks"])) for e in entries)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no ledger of looks ({error!r}); take the last good one from git") from None


def to_json(splits: Sequence[TestSplit]) -> dict[str, Any]:
    """What `read` reads."""
    return {KEY: [{**asdict(split), "images": " ".join(split.images), "looks": list(split.looks)} for split in splits]}
