from typing import Any

import numpy as np
import pytest
import torch

from pipeline.transforms.mixing import Mixed, Mixing, mix

IMAGES = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 2, 20, 10)
"""Image i is of colour i."""
PARTNERS = torch.tensor([3, 0, 1, 2])


def mixed(seed: int = 0, **options: Any) -> Mixed:
    return mix(IMAGES, PARTNERS, Mixing(**options), np.random.default_rng(seed))


def test_off_by_default() -> None:
    assert not Mixing().on
    assert not Mixing(mixup=1.0, probability=0.0).on
    assert Mixing(mixup=0.2).on
    assert Mixing(cutmix=1.0).on


def test_mixup_is_a_weighted_mean() -> None:
    images, share = mixed(mixup=1.0)
    assert 0 < share < 1
    expected = share * IMAGES + (1 - share) * IMAGES[PARTNERS]
    torch.testing.assert_close(images, expected)
    assert images[1, 0, 0, 0].item() == pytest.approx(share * 1 + (1 - share) * 0)
    assert images[0, 0, 0, 0].item() == pytest.approx((1 - share) * 3)


def test_cutmix_pastes_a_box_and_the_share_is_that_of_the_area_left() -> None:
    for seed in range(30):
        images, share = mixed(seed, cutmix=1.0)
        pasted = images[1, 0] == 0  # of the partner's colour
        assert share == pytest.approx(1 - pasted.float().mean().item())
        rows, columns = pasted.any(1).nonzero(), pasted.any(0).nonzero()
        if len(rows):
            top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
            assert pasted[top:bottom, left:right].all()
            assert pasted.sum() == (bottom - top) * (right - left)
        assert set(images[1].unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(images[1, 0], images[1, 1])
    assert IMAGES[1].unique().tolist() == [1.0]  # what was given is left as it was


def test_shares_are_drawn_from_beta() -> None:
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))."""
    shares = np.array([mixed(seed, mixup=0.5).share for seed in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / 8, rel=0.1)


def test_probability_and_the_choice_between_both() -> None:
    kinds = {"none": 0, "mixup": 0, "cutmix": 0}
    for seed in range(600):
        images, share = mixed(seed, mixup=1.0, cutmix=1.0, probability=0.5)
        if share == 1.0 and torch.equal(images, IMAGES):
            kinds["none"] += 1
        else:
            kinds["cutmix" if set(images[1].unique().tolist()) <= {0.0, 1.0} else "mixup"] += 1
    assert 260 < kinds["none"] < 350  # cutmix draws an empty box now and then
    assert abs(kinds["mixup"] - kinds["cutmix"]) < 70
