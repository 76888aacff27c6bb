"""Features of small images without training a network: thresholded random patches (Coates & Ng 2011)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SAMPLED_IMAGES, SAMPLED_PATCHES = 2000, 20
THRESHOLD = 0.25
BLOCK = 50  # what fits a processor's cache: twice as fast as 250


@dataclass(frozen=True)
class Filters:
    """Whitened patches of the data as filters.

    Attributes:
        weights: [D, K], D = side * side * C.
        offset: [K].
        side: of a patch, in pixels.
        stride: pixels from one patch to the next.
    """

    weights: Floats
    offset: Floats
    side: int
    stride: int

    def features(self, images: Images) -> Floats:
        """Means over the four quarters of what exceeds the threshold on either side, [N, 8 K]."""
        return np.concatenate([self._block(images[start : start + BLOCK]) for start in range(0, len(images), BLOCK)])

    def _block(self, images: Images) -> Floats:
        found = _normalised(_patches(images, self.side, self.stride)) @ self.weights - self.offset
        rows, columns = _halves(found.shape[1]), _halves(found.shape[2])
        parts = []
        for response in (found - THRESHOLD, -found - THRESHOLD):
            positive = np.maximum(response, 0)
            parts += [positive[:, top, left].mean(axis=(1, 2)) for top in rows for left in columns]
        return np.concatenate(parts, axis=1)


def learn(images: Images, num_filters: int, seed: int) -> Filters:
    """Draws filters from images uint8 [N, H, W, C] and whitens them (ZCA), as in section 3.1 of the paper."""
    rng = np.random.default_rng(seed)
    shorter = min(images.shape[1:3])
    side, stride = min(6, max(2, shorter // 2)), 1 if shorter < 16 else 2
    chosen = images[rng.permutation(len(images))[:SAMPLED_IMAGES]]
    windows = _windows(chosen, side)
    rows, columns = (rng.integers(0, count, (len(chosen), SAMPLED_PATCHES)) for count in windows.shape[1:3])
    drawn = windows[np.arange(len(chosen))[:, None], rows, columns]
    sample = _normalised(drawn.reshape(drawn.shape[0] * SAMPLED_PATCHES, -1).astype(np.float32))
    mean = sample.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(np.cov(sample.T, dtype=np.float64))
    whitening = (vectors / np.sqrt(np.maximum(values, 0) + 0.1)) @ vectors.T
    white = (sample - mean) @ whitening
    filters = white[rng.choice(len(white), min(num_filters, len(white)), replace=False)]
    filters = filters / np.maximum(np.linalg.norm(filters, axis=1, keepdims=True), 1e-6)
    weights = whitening @ filters.T
    return Filters(weights.astype(np.float32), (mean @ weights).astype(np.float32), side, stride)


def _windows(images: Images, side: int) -> Images:
    """All patches as a view, uint8 [N, rows, columns, C, side, side]."""
    return np.lib.stride_tricks.sliding_window_view(images, (side, side), axis=(1, 2))


def _patches(images: Images, side: int, stride: int) -> Floats:
    """Patches, float32 [N, rows, columns, C * side * side]."""
    windows = _windows(images, side)[:, ::stride, ::stride]
    return windows.reshape(*windows.shape[:3], -1).astype(np.float32)


def _normalised(patches: Floats) -> Floats:
    """Each patch with mean 0 and variance 1, noise kept down by the constant of the paper."""
    centred = patches - patches.mean(axis=-1, keepdims=True)
    variance = np.einsum("...i,...i->...", centred, centred)[..., None] / np.float32(patches.shape[-1])
    return np.asarray(centred / np.sqrt(variance + np.float32(10)))


def _halves(length: int) -> tuple[slice, slice]:
    """First and second half; both hold something even where there is one place only."""
    middle = length // 2
    return slice(0, max(1, middle)), slice(middle, length)
