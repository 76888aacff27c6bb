"""Duplicates by hash of the pixels and near-duplicates by perceptual hash, found without comparing all pairs.

The latter is pHash (Zauner 2010): signs of the lowest 8 x 8 frequencies of the grey image against their median. Two
hashes that differ in at most d of 64 bits agree in one of d + 1 bands of bits (pigeonhole principle), so only images
that share a band are compared. What sorting needs in memory is needed for a part of the images at a time.
"""

from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.images import Pixels

THUMBNAIL_SIDE, LOW = 32, 8
MIN_SIDE = 24  # smaller images have too little detail for a hash of 64 bits
MIN_CONTRAST = 4.0  # standard deviation in grey levels: flat images all look alike
PART = 2**15  # images sorted at once, and candidates compared at once
MIXER = np.uint64(0x9E3779B97F4A7C15)  # odd: spreads keys over parts whichever of their bits differ (Knuth 1973, 6.4)
Hashes = npt.NDArray[np.uint64]
Thumbnails = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Band = tuple[np.uint64, np.uint64]  # its lowest bit, and as many ones as it has bits
WHOLE: Band = np.uint64(0), ~np.uint64(0)


def thumbnail(pixels: Pixels) -> Thumbnails:
    """The grey miniature that images are compared by, uint8 [32, 32]; all zero for an image too small for that."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    if min(pixels.shape[:2]) < MIN_SIDE:
        return np.zeros(size, np.uint8)
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey if grey.shape == size else cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def perceptual_hash(small: Thumbnails) -> int | None:
    """64 bits that change little where the picture does; None for a thumbnail too flat to tell."""
    if cv2.meanStdDev(small)[1][0, 0] < MIN_CONTRAST:
        return None
    low = cv2.dct(small.astype(np.float32))[:LOW, :LOW].ravel()
    middle = np.sort(low)[low.size // 2 - 1 : low.size // 2 + 1]
    return int.from_bytes(np.packbits(low > (middle[0] + middle[1]) / 2).tobytes(), "big")


def correlation(one: Thumbnails, other: Thumbnails) -> npt.NDArray[np.float64]:
    """Pearson's correlation of thumbnails with thumbnails, [P, side, side] each: 1 for the same picture."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (one, other))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    found: npt.NDArray[np.float64] = (a * b).sum(1) / np.sqrt(np.maximum((a * a).sum(1) * (b * b).sum(1), 1e-12))
    return found


def first_equal(keys: Hashes, new_from: int = 0) -> tuple[Indices, Indices]:
    """Indices of the new keys that came before, and where each came first.

    Args:
        keys: uint64 [N].
        new_from: index of the first new one.
    """
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for part in _parts(keys, np.ones(len(keys), bool)):
        order, starts = _groups(keys, part)
        again = np.flatnonzero(starts < np.arange(len(order)))
        again = again[order[again] >= new_from]
        found.append((order[again], order[starts[again]]))
    rows, firsts = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(rows)
    return rows[order], firsts[order]


def near_pairs(hashes: Hashes, max_distance: int, new_from: int = 0, usable: Mask | None = None) -> Indices:
    """Pairs of indices [P, 2] whose hashes differ in at most `max_distance` bits; each pair has a new image.

    Equal hashes are chained, first with second, second with third, so that a thousand copies are 999 pairs.

    Args:
        hashes: uint64 [N].
        new_from: images before this index are known to each other already.
        usable: the images that are compared; all of them by default.
    """
    usable = np.ones(len(hashes), bool) if usable is None else usable
    distinct, fresh = np.zeros(len(hashes), bool), np.zeros(len(hashes), bool)
    found = [np.empty((0, 2), np.int64)]
    for part in _parts(hashes, usable):
        order, starts = _groups(hashes, part)
        distinct[order[starts]] = True
        # A group's newest member says whether there is anything new about it.
        fresh[order[starts[order >= new_from]]] = True
        chained = np.flatnonzero((starts < np.arange(len(order))) & fresh[order[starts]])
        found.append(np.stack([order[chained - 1], order[chained]], axis=1))
    found += _close(hashes, distinct, fresh, max_distance)
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def components(pairs: Indices) -> tuple[Indices, npt.NDArray[np.int32]]:
    """The numbers that come up in pairs [P, 2], ascending, and for each which connected component it is in."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers, places = np.unique(pairs, return_inverse=True)
    one, other = places.reshape(-1, 2).T
    graph = coo_array((np.ones(len(pairs), np.int8), (one, other)), shape=(len(numbers),) * 2)
    return numbers, connected_components(graph, directed=False)[1]


def _close(hashes: Hashes, distinct: Mask, fresh: Mask, max_distance: int) -> Iterator[Indices]:
    """Pairs of indices of different hashes at most `max_distance` apart, band by band; one of each pair is fresh."""
    edges = np.linspace(0, 64, max_distance + 2).round().astype(np.uint64)
    for low, high in pairwise(edges) if max_distance else ():
        band = low, np.uint64((1 << int(high - low)) - 1)
        for part in _parts(hashes, distinct, band):
            keys = _bits(hashes[part], band)
            order = np.lexsort((fresh[part], keys))  # within a band's value the fresh ones stand last
            sorted_part, keys = part[order], keys[order]
            for one, other in _expand(np.searchsorted(keys, keys), np.flatnonzero(fresh[sorted_part])):
                pairs = np.stack([sorted_part[one], sorted_part[other]], axis=1)
                distance = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
                if (distance <= max_distance).any():
                    yield pairs[distance <= max_distance]


def _expand(starts: Indices, places: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Each of `places` paired with all places from its group's start up to itself, some `PART` pairs at a time."""
    counts = places - starts[places]
    ends = np.cumsum(counts)
    done = 0
    while done < len(places):
        until = max(done + 1, int(np.searchsorted(ends, (ends[done - 1] if done else 0) + PART, "right")))
        chosen, number = places[done:until], counts[done:until]
        before = np.cumsum(number) - number
        other = np.arange(int(number.sum())) + np.repeat(starts[chosen] - before, number)
        yield np.repeat(chosen, number), other
        done = until


def _parts(keys: Hashes, usable: Mask, band: Band = WHOLE) -> Iterator[Indices]:
    """The indices of all usable keys in parts; those with equal bits in a band are in one."""
    number = min(255, len(keys) // PART + 1)
    part_of = np.empty(len(keys), np.uint8)
    for start in range(0, len(keys), PART):
        mixed = _bits(keys[start : start + PART], band) * MIXER
        part_of[start : start + PART] = (mixed >> np.uint64(32)) % np.uint64(number)
    part_of[~usable] = 255
    for part in range(number):
        yield np.flatnonzero(part_of == part)


def _bits(keys: Hashes, band: Band) -> Hashes:
    low, mask = band
    return keys >> low & mask


def _groups(keys: Hashes, part: Indices) -> tuple[Indices, Indices]:
    """A part's indices with equal keys side by side, in order; and for each the place at which its group starts."""
    order = part[np.argsort(keys[part], kind="stable")]
    is_first = np.ones(len(order), bool)
    is_first[1:] = keys[order[1:]] != keys[order[:-1]]
    return order, np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
