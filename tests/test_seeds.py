import pytest
import torch

from pipeline.seeds import derive, seeded


def test_torch_draws_what_the_seed_says_and_goes_on_as_if_nothing_had_been_drawn() -> None:
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(7)
    of_seven = torch.rand(3)
    torch.manual_seed(1)
    first = torch.rand(2)
    with seeded(7):
        assert torch.equal(torch.rand(3), of_seven)
    with pytest.raises(ValueError, match="inside"), seeded(8):
        raise ValueError("inside")
    assert torch.equal(torch.cat([first, torch.rand(2)]), expected)


def test_a_derived_seed_is_what_it_always_was() -> None:
    assert (derive(0, "fold"), derive(0, 1)) == (1_544_096_353, 1_419_524_863)
    assert derive(0, 12) != derive(0, 1, 2)
