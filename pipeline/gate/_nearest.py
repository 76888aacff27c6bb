"""The nearest image in pixels, moved by a pixel or mirrored as well, and how near it is in features."""

# Images are compared without their border where they are moved, so that what enters there does not count.

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

COMPARED_SIDE = 32  # larger images are compared at this size
THUMBNAIL_SIDE = 8
MIN_MOVED_SIDE = 8  # smaller images are compared as they are
MAX_MOVED_THUMBNAIL = 16  # of larger ones a pixel hardly moves the thumbnail
STEPS = (0, -1, 1)
SHORTLIST = 8  # nearest by thumbnail, and as many by features, that are then compared pixel by pixel
BLOCK, CHUNK = 128, 512


@dataclass(frozen=True)
class Pictures:
    """N images as they are compared.

    Attributes:
        small: uint8 [N, C, h, w], at most 32 pixels a side.
        thumbnails: float [N, moves, P], of the image as it is and moved.
        deep: unit vectors, float [N, D]; the cosine of two is the mean over the classifiers.
        labels: int64 [N].
    """

    small: Tensor
    thumbnails: Tensor
    deep: Tensor
    labels: Ints

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "Pictures":
        """The given rows."""
        chosen = torch.from_numpy(np.arange(len(self))[rows])
        return Pictures(self.small[chosen], self.thumbnails[chosen], self.deep[chosen], self.labels[rows])

    def with_features(self, deep: Tensor) -> "Pictures":
        """The same images by other features."""
        return Pictures(self.small, self.thumbnails, deep, self.labels)

    def joined(self, others: "Pictures") -> "Pictures":
        """These images, then the others."""
        return Pictures(
            torch.cat([self.small, others.small]),
            torch.cat([self.thumbnails, others.thumbnails]),
            torch.cat([self.deep, others.deep]),
            np.concatenate([self.labels, others.labels]),
        )


@dataclass(frozen=True)
class Nearest:
    """For each of N images the nearest other one.

    Attributes:
        row: where it is, -1 where there is none.
        pixel: root mean square of the difference in grey levels, [N], infinite where there is none.
        feature: cosine distance of the features to the same image, [N].
        moved: whether it is the nearest only when moved or mirrored, bool [N]; features move as well.
    """

    row: Ints
    pixel: Floats
    feature: Floats
    moved: Bools

    @classmethod
    def none(cls, size: int) -> "Nearest":
        """Of images without any other."""
        far = np.full(size, np.inf)
        return cls(np.full(size, -1), far, far.copy(), np.zeros(size, dtype=np.bool_))

    def take(self, rows: npt.NDArray[np.intp]) -> "Nearest":
        """The given images'."""
        return Nearest(**{name: values[rows] for name, values in vars(self).items()})

    def put(self, rows: Ints, part: "Nearest") -> None:
        """Takes what was found for some of the images."""
        for name, values in vars(part).items():
            getattr(self, name)[rows] = values

    def within(self, pixel: Floats | float, feature: Floats | float) -> Bools:
        """Whether the other image is at most so far in pixels and, unless moved, in features, bool [N]."""
        return is_within(self.pixel, self.feature, self.moved, pixel, feature)


def is_within(
    pixel: Floats, feature: Floats, moved: Bools, max_pixel: Floats | float, max_feature: Floats | float
) -> Bools:
    """Whether images are at most so far from others in pixels and, unless moved, in features."""
    return np.asarray((pixel <= max_pixel) & (moved | (feature <= max_feature)))


def pictures(images: npt.NDArray[np.uint8], features: Tensor, labels: Ints) -> Pictures:
    """Prepares uint8 [N, C, H, W] images with features [K, N, D], unit vectors of K classifiers."""
    given = torch.from_numpy(images)
    blocks = range(0, max(1, len(images)), CHUNK)
    small = given
    if max(images.shape[2:]) > COMPARED_SIDE:
        parts = [_reduced(given[start : start + CHUNK].float(), COMPARED_SIDE).round() for start in blocks]
        small = torch.cat([part.to(torch.uint8) for part in parts])
    thumbnails = torch.cat([_thumbnails(small[start : start + CHUNK]) for start in blocks])
    deep = features.transpose(0, 1).flatten(1) / len(features) ** 0.5
    return Pictures(small, thumbnails, deep, labels)


def nearest(queries: Pictures, bank: Pictures, excluded: Ints | None = None) -> Nearest:
    """The nearest of `bank` to each query in pixels; `excluded` is the row of each query's own image there.

    Exact among the 8 nearest by thumbnail and the 8 nearest by features.
    """
    size = len(bank) - (excluded is not None)
    if size < 1 or not len(queries):
        return Nearest.none(len(queries))
    found, pixel, feature, moved = [], [], [], []
    for start in range(0, len(queries), BLOCK):
        block = slice(start, start + BLOCK)
        own = None if excluded is None else torch.from_numpy(excluded[block])
        by_features = 1 - queries.deep[block] @ bank.deep.T
        short = _shortlist(queries.thumbnails[block], by_features, bank, own, min(SHORTLIST, size))
        place, move, distance = _compared(queries.small[block], bank.small, short)
        row = short.gather(1, place[:, None])
        found.append(row[:, 0])
        pixel.append(distance)
        feature.append(by_features.gather(1, row)[:, 0])
        moved.append(move > 0)
    far = torch.cat(feature).clamp_min(0).double().numpy()
    return Nearest(torch.cat(found).numpy(), torch.cat(pixel).double().numpy(), far, torch.cat(moved).numpy())


def distances(images: Pictures) -> tuple[Floats, Floats, Bools]:
    """All pairs: pixel distances as in `Nearest`, cosine distances of features, whether the second is moved, [N, N]."""
    still, moves = _windows(images.small), _moves(images.small)
    squares = still.square().sum(1)[:, None]
    found = torch.stack(
        [squares + (other := moves[:, move]).square().sum(1) - 2 * still @ other.T for move in range(moves.shape[1])]
    )
    best, move = found.min(0)
    pixel = (best.clamp_min(0) / still.shape[1]).sqrt().double().numpy()
    return pixel, (1 - images.deep @ images.deep.T).double().numpy(), (move > 0).numpy()


def _shortlist(thumbnails: Tensor, by_features: Tensor, bank: Pictures, own: Tensor | None, count: int) -> Tensor:
    """Rows of the bank worth comparing, [N, 2 * count]."""
    still = bank.thumbnails[:, 0]
    by_pixels = torch.full_like(by_features, torch.inf)
    for move in range(thumbnails.shape[1]):
        other = thumbnails[:, move]
        torch.minimum(by_pixels, other.square().sum(1)[:, None] - 2 * other @ still.T, out=by_pixels)
    by_pixels += still.square().sum(1)
    parts = []
    for found in (by_pixels, by_features):
        others = found if own is None else found.index_put((torch.arange(len(own)), own), torch.tensor(torch.inf))
        parts.append(others.topk(count, dim=1, largest=False).indices)
    return torch.cat(parts, dim=1)


def _compared(queries: Tensor, bank: Tensor, short: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each query's nearest image: its place in the shortlist, how it is moved, the distance to it, [N] each."""
    still = _windows(bank[short.flatten()]).reshape(*short.shape, -1)
    moves = _moves(queries)
    squares = still.square().sum(2)[:, :, None] + moves.square().sum(2)[:, None]
    best = (squares - 2 * still @ moves.transpose(1, 2)).flatten(1).argmin(1)
    place, move = best // moves.shape[1], best % moves.shape[1]
    rows = torch.arange(len(queries))
    difference = still[rows, place] - moves[rows, move]  # once more: the product above is exact to some grey levels
    return place, move, difference.square().mean(1).sqrt()


def _cut(small: Tensor, down: int = 0, right: int = 0) -> Tensor:
    """Images without their border, or moved over it by a pixel, around 0."""
    margin = _margin(small)
    height, width = small.shape[2] - 2 * margin, small.shape[3] - 2 * margin
    cut = small[:, :, margin + down : margin + down + height, margin + right : margin + right + width]
    return cut.float() - 127.5


def _windows(small: Tensor, down: int = 0, right: int = 0) -> Tensor:
    return _cut(small, down, right).flatten(1)


def _moves(small: Tensor) -> Tensor:
    """Each image as it is, moved by a pixel in each direction, and mirrored, float [N, moves, P]."""
    if not _margin(small):
        return _windows(small)[:, None]
    both = (small, small.flip(3))
    return torch.stack([_windows(one, down, right) for one in both for down in STEPS for right in STEPS], dim=1)


def _thumbnails(small: Tensor) -> Tensor:
    """Thumbnails of `_moves`, or of the image and its mirror image, float [N, moves, P]."""
    if not _margin(small):
        return _reduced(_cut(small), THUMBNAIL_SIDE).flatten(1)[:, None]
    steps = STEPS if max(small.shape[2:]) <= MAX_MOVED_THUMBNAIL else (0,)
    cuts = [_cut(one, down, right) for one in (small, small.flip(3)) for down in steps for right in steps]
    return torch.stack([_reduced(cut, THUMBNAIL_SIDE).flatten(1) for cut in cuts], dim=1)


def _margin(small: Tensor) -> int:
    return int(min(small.shape[2:]) >= MIN_MOVED_SIDE)


def _reduced(images: Tensor, side: int) -> Tensor:
    height, width = images.shape[2:]
    if max(height, width) <= side:
        return images
    return F.adaptive_avg_pool2d(images, (min(height, side), min(width, side)))
