"""Near-duplicates by perceptual hash, found without comparing all pairs.

The hash is pHash (Zauner 2010): signs of the lowest 8 x 8 frequencies of the grey image against their median. Two
hashes that differ in at most d of 64 bits agree in one of d + 1 bands of bits (pigeonhole principle), so only images
that share a band are compared.
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
Hashes = npt.NDArray[np.uint64]
Thumbnails = npt.NDArray[np.uint8]


def thumbnail(pixels: Pixels) -> Thumbnails:
    """The grey miniature that images are compared by, uint8 [32, 32]; all zero for an image too small for that."""
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    if min(pixels.shape[:2]) < MIN_SIDE:
        return np.zeros(size, np.uint8)
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(grey if grey.shape == size else cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def perceptual_hash(small: Thumbnails) -> int | None:
    """64 bits that change little where the picture does; None for a thumbnail too flat to tell."""
    if small.std() < MIN_CONTRAST:
        return None
    low = cv2.dct(small.astype(np.float32))[:LOW, :LOW].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def correlation(one: Thumbnails, other: Thumbnails) -> npt.NDArray[np.float64]:
    """Pearson's correlation of thumbnails with thumbnails, [P, side, side] each: 1 for the same picture."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (one, other))
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    found: npt.NDArray[np.float64] = (a * b).sum(1) / np.sqrt(np.maximum((a * a).sum(1) * (b * b).sum(1), 1e-12))
    return found


def near_pairs(hashes: Hashes, max_distance: int, new_from: int = 0) -> npt.NDArray[np.int64]:
    """Pairs of indices [P, 2] whose hashes differ in at most `max_distance` bits; each pair has a new image.

    Equal hashes are chained, first with second, second with third, so that a thousand copies are 999 pairs.

    Args:
        hashes: uint64 [N].
        new_from: images before this index are known to each other already.
    """
    distinct, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(group, kind="stable")
    same = group[order[1:]] == group[order[:-1]]
    chained = np.stack([order[:-1][same], order[1:][same]], axis=1)
    last = np.zeros(len(distinct), np.int64)
    np.maximum.at(last, group, np.arange(len(hashes)))
    found = [first[pairs] for pairs in _close(distinct, max_distance)]
    # A group's newest member says whether there is anything new about a pair of groups.
    pairs = np.concatenate([chained, *found]) if found else chained
    newest = np.maximum(last[group[pairs[:, 0]]], last[group[pairs[:, 1]]]) if len(pairs) else np.empty(0, np.int64)
    return np.unique(np.sort(pairs[newest >= new_from], axis=1), axis=0).astype(np.int64)


def _close(distinct: Hashes, max_distance: int) -> Iterator[npt.NDArray[np.int64]]:
    """Pairs of indices of different hashes at most `max_distance` apart, band by band."""
    edges = np.linspace(0, 64, max_distance + 2).round().astype(np.uint64)
    for low, high in pairwise(edges):
        keys = (distinct >> low) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        left = np.arange(len(keys) - 1)
        step = 1
        while len(left := left[left + step < len(keys)]) and len(left := left[keys[left] == keys[left + step]]):
            one, other = order[left], order[left + step]
            near = np.bitwise_count(distinct[one] ^ distinct[other]) <= max_distance
            yield np.stack([one[near], other[near]], axis=1)
            step += 1
