"""What happens to which image: random numbers, drawn in a fixed order, as matrices.

Both back ends draw the same numbers in the same order: a batch of one on the fly is the image that is stored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from torch import Tensor

from pipeline.transforms import colour, cutout, geometry
from pipeline.transforms.by_name import Spec
from pipeline.transforms.cutout import Boxes
from pipeline.transforms.geometry import Floats, Matrix, Values
from pipeline.transforms.policy import HIDES, MOVES, RECOLOURS, Policy

# Rows of the table. Models were trained with the first nine in this order: append, or all of them come out different.
ANGLE, SCALE_X, SCALE_Y, SHEAR, SHIFT_X, SHIFT_Y, FLIP, CONTRAST, BRIGHTNESS = range(9)
UPSIDE_DOWN, AREA, ASPECT, CROP_X, CROP_Y, SATURATION, HUE, MIX = range(9, 17)
EXTRA_SEED = MIX + 6
ROWS = EXTRA_SEED + 1

MAX_ASPECT = 1.18  # of a crop, as a factor either way


@dataclass(frozen=True)
class Draws(Generic[Values]):
    """Random numbers of N images.

    Attributes:
        table: uniform from 0 to 1, [ROWS or more, N].
        kept: for each change that may happen, 1 for images that undergo it and 0 for others, [N]; empty if all do.
    """

    table: Values
    policy: Policy
    kept: dict[str, Values]

    def span(self, row: int, change: str) -> Values:
        """A row from -x to x, where x is the most of the change."""
        drawn: Values = (self.table[row] * 2 - 1) * self._most(change)
        return self._kept(drawn, change)

    def shift(self, row: int, size: int) -> Values:
        """A row as shifts along a side of `size` pixels, in shares of it."""
        if not self.policy.whole_pixels:
            return self.span(row, "shift")
        most = round(self.policy.span("shift") * size)
        pixels: Values = (self.table[row] * (2 * most + 1) // 1).clip(max=2 * most) - most
        return self._kept(pixels / size, "shift")

    def up_to(self, row: int, change: str) -> Values:
        """A row from 0 to x."""
        drawn: Values = self.table[row] * self._most(change)
        return self._kept(drawn, change)

    def happens(self, row: int, change: str) -> Values:
        """-1 for images that are mirrored, 1 for others."""
        chance = self.policy.span(change)
        drawn = self.table[row] < (chance * self.kept[change] if change in self.kept else chance)
        mirrored: Values = 1 - 2 * (drawn * 1.0)
        return mirrored

    def _kept(self, drawn: Values, change: str) -> Values:
        return drawn * self.kept[change] if change in self.kept else drawn

    def _most(self, change: str) -> float:
        most = self.policy.span(change)
        return math.radians(most) if change == "rotation_degrees" else most


def for_batch(num_images: int, policy: Policy, rng: torch.Generator) -> Draws[Tensor]:
    """Draws for a batch, all from one generator."""
    table = torch.rand(_rows(policy), num_images, generator=rng)
    # x and y of a shift are drawn image by image.
    table[[SHIFT_X, SHIFT_Y]] = table[[SHIFT_X, SHIFT_Y]].reshape(num_images, 2).T
    return Draws(table, policy, _picked(table, policy))


def for_seeds(seeds: Sequence[int], policy: Policy) -> Draws[Floats]:
    """Draws for single images, each from a generator of its own."""
    rng, rows = torch.Generator(), _rows(policy)
    drawn = [torch.rand(rows, generator=rng.manual_seed(seed)) for seed in seeds]
    table = torch.stack(drawn, dim=1).numpy().astype(np.float64)
    return Draws(table, policy, _picked(table, policy))


def matrices(draws: Draws[Values], height: int, width: int) -> Matrix[Values]:
    """How each image of `height` x `width` pixels is moved: shifted, turned, slanted, scaled, mirrored, cropped."""
    aspect = width / height
    shift_x, shift_y = (2 * draws.shift(row, size) for row, size in ((SHIFT_X, width), (SHIFT_Y, height)))
    scale_x, scale_y = (1 + draws.span(row, "scale") for row in (SCALE_X, SCALE_Y))
    return geometry.compose(
        geometry.shift(shift_x, shift_y),
        geometry.rotation(draws.span(ANGLE, "rotation_degrees"), aspect),
        geometry.shear(draws.span(SHEAR, "shear"), aspect),
        geometry.scale(
            scale_x * draws.happens(FLIP, "horizontal_flip"), scale_y * draws.happens(UPSIDE_DOWN, "vertical_flip")
        ),
        *([_crop(draws)] if draws.policy.span("crop") else []),
    )


def _crop(draws: Draws[Values]) -> Matrix[Values]:
    """A part of the image of at least 1 - crop of its area, as `RandomResizedCrop` takes it (Szegedy et al. 2015)."""
    area, exponent = 1 - draws.up_to(AREA, "crop"), draws.table[ASPECT] * 2 - 1
    ratio = MAX_ASPECT ** (exponent * draws.kept["crop"] if draws.kept else exponent)
    width, height = ((area * ratio) ** 0.5).clip(max=1), ((area / ratio) ** 0.5).clip(max=1)
    x, y = ((draws.table[row] * 2 - 1) * (1 - side) for row, side in ((CROP_X, width), (CROP_Y, height)))
    return geometry.crop(width, height, x, y)


def colours(draws: Draws[Values], mean: Values) -> Values:
    """How each image's colours change, [N, 3, 4].

    Args:
        mean: each image's mean luma, 0 to 1 [N].
    """
    policy = draws.policy
    changes = [
        colour.contrast(1 + draws.span(CONTRAST, "contrast"), mean),
        colour.brightness(1 + draws.span(BRIGHTNESS, "brightness")),
    ]
    if policy.span("saturation"):
        changes.append(colour.saturation(1 + draws.span(SATURATION, "saturation")))
    if policy.span("hue"):
        changes.append(colour.hue(draws.span(HUE, "hue")))
    if policy.span("channel_mix"):
        changes.append(colour.channel_mix([draws.span(MIX + number, "channel_mix") for number in range(6)]))
    return colour.compose(*changes)


def boxes(draws: Draws[Values], height: int, width: int) -> Boxes:
    """What of each image is hidden; its place is drawn last of all."""
    y, x = (np.asarray(draws.table[row], dtype=np.float64) for row in (-2, -1))
    side = np.full(len(x), draws.policy.span("cutout"))
    return cutout.boxes(side * np.asarray(draws.kept["cutout"]) if draws.kept else side, y, x, height, width)


def extras(draws: Draws[Values], image: int) -> tuple[list[Spec], int]:
    """The transforms of Albumentations that an image undergoes, and their seed."""
    specs = enumerate(draws.policy.extra)
    chosen = [spec for number, spec in specs if not draws.kept or draws.kept[f"extra.{number}"][image]]
    return chosen, int(draws.table[EXTRA_SEED][image] * 2**24)


def _changes(policy: Policy) -> list[str]:
    return [*MOVES, *RECOLOURS, *(f"extra.{number}" for number in range(len(policy.extra))), *HIDES]


def _rows(policy: Policy) -> int:
    return ROWS + (len(_changes(policy)) if policy.pick else 0) + (2 if policy.hides else 0)


def _picked(table: Values, policy: Policy) -> dict[str, Values]:
    """For each change that is on, which images undergo it: those where its number is among the `pick` smallest."""
    if not policy.pick:
        return {}
    numbered = dict(enumerate(_changes(policy), start=ROWS))
    drawn = {change: table[row] for row, change in numbered.items() if change[:5] == "extra" or policy.span(change)}
    smaller = {change: [(other < own) * 1.0 for other in drawn.values()] for change, own in drawn.items()}
    return {change: (sum(places[1:], start=places[0]) < policy.pick) * 1.0 for change, places in smaller.items()}
