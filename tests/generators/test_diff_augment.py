from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.generators._diff_augment import AUGMENTATIONS, augment, colour, cutout, translation

MANY = 400


def test_an_even_grey_image_changes_in_brightness_only() -> None:
    torch.manual_seed(0)
    images = torch.full((MANY, 3, 4, 4), 0.2)
    added = colour(images) - images
    assert torch.allclose(added, added[:, :1, :1, :1].expand_as(added), atol=1e-6)
    assert -0.5 <= added.min() < -0.45
    assert 0.45 < added.max() <= 0.5


def test_saturation_keeps_the_grey_value_and_reaches_from_none_to_twice() -> None:
    # Even colours: contrast scales (1, 0, -1) - its mean 0 - by 0.5 to 1.5, saturation by 0 to 2.
    torch.manual_seed(0)
    images = torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1).expand(MANY, 3, 4, 4)
    out = colour(images)
    factor = (out[:, 0] - out[:, 2])[:, 0, 0] / 2
    middle = (out[:, 0] + out[:, 2])[:, 0, 0] / 2
    torch.testing.assert_close(out[:, 1, 0, 0], middle)
    assert 0 <= factor.min() < 0.1
    assert 2.5 < factor.max() <= 3


def test_contrast_keeps_the_mean() -> None:
    # A grey image has no saturation: what is left scales by 0.5 to 1.5 around the mean, which brightness moves.
    torch.manual_seed(0)
    images = torch.tensor([[0.5, -0.5]]).expand(MANY, 1, 1, 2)
    out = colour(images)
    factor = out[:, 0, 0, 0] - out[:, 0, 0, 1]
    assert 0.5 <= factor.min() < 0.52
    assert 1.48 < factor.max() <= 1.5
    assert out.mean(dim=(1, 2, 3)).abs().max() <= 0.5


def test_translation_moves_whole_images_by_up_to_an_eighth_and_lets_0_in() -> None:
    torch.manual_seed(0)
    image = torch.arange(1.0, 16 * 8 + 1).view(1, 1, 16, 8)
    moves = set()
    for moved in translation(image.expand(MANY, 1, 16, 8)):
        row, column = (int(place) for place in torch.nonzero(moved[0] == image[0, 0, 8, 4])[0])
        expected = torch.zeros(16 + 4, 8 + 2)
        expected[row - 8 + 2 : row - 8 + 18, column - 4 + 1 : column - 4 + 9] = image[0, 0]
        assert torch.equal(moved[0], expected[2:-2, 1:-1])
        moves.add((row - 8, column - 4))
    assert moves == {(down, right) for down in range(-2, 3) for right in range(-1, 2)}


def test_cutout_sets_a_rectangle_of_half_the_sides_to_0() -> None:
    torch.manual_seed(0)
    out = cutout(torch.ones(MANY, 2, 8, 12))
    assert torch.equal(out[:, 0], out[:, 1])
    sizes, ends = set(), set()
    for kept in out[:, 0]:
        rows, columns = torch.nonzero((kept == 0).any(dim=1))[:, 0], torch.nonzero((kept == 0).any(dim=0))[:, 0]
        assert (kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 0).all()
        assert kept.sum() == 96 - len(rows) * len(columns)
        sizes.add((len(rows), len(columns)))
        ends.add((int(rows[0]), int(rows[-1])))
    assert max(sizes) == (4, 6)
    assert min(columns for _, columns in sizes) == 3
    # From one centred on the upper border, half of it outside, to one centred on the lower border.
    assert ends == {(0, 1), (0, 2), (0, 3), (1, 4), (2, 5), (3, 6), (4, 7), (5, 7), (6, 7)}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_gradient_is_the_right_one(name: str) -> None:
    def one(images: Tensor) -> Tensor:
        torch.manual_seed(3)
        return AUGMENTATIONS[name](images)

    images = torch.rand(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(one, images)
    assert torch.autograd.gradgradcheck(one, images)


@pytest.mark.parametrize("function", AUGMENTATIONS.values())
def test_each_image_is_drawn_for_by_itself(function: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    one = torch.rand(1, 1, 8, 8)
    out = function(one.expand(20, 1, 8, 8))
    assert len({tuple(image.flatten().tolist()) for image in out}) > 5


def test_what_is_not_named_is_not_done() -> None:
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(augment(images, []), images)
    torch.manual_seed(0)
    one = augment(images, ["colour", "cutout"])
    torch.manual_seed(0)
    assert torch.equal(one, cutout(colour(images)))
