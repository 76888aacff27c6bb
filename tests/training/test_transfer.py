from pathlib import Path

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training.transfer import Task, load, load_task, save, transfer

OPTIONS = {"depth": 8, "width": 4}
NAMES = ("a", "b", "ç d")
FIRST, HEAD = "trunk.0.weight", ("head.weight", "head.bias")


def source(folder: Path, in_channels: int = 3, names: tuple[str, ...] = NAMES) -> Path:
    task = Task("resnet", OPTIONS, in_channels, names)
    save(folder, task, {"weights": task.build(seed=1)} if names else {})
    return folder


def test_where_all_fits_all_is_taken(tmp_path: Path) -> None:
    network, report = transfer(source(tmp_path / "m"), 3, NAMES, "parameter", seed=2)
    given = load(tmp_path / "m", "weights").state_dict()
    assert set(report["taken"]) == set(given)
    assert report["adapted"] == report["fresh"] == []
    assert all(torch.equal(value, given[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "e"), ("b", "a", "ç d")])
def test_other_classes_leave_the_head_fresh_even_where_it_would_fit(tmp_path: Path, names: tuple[str, ...]) -> None:
    network, report = transfer(source(tmp_path / "m"), 3, names, "parameter", seed=2)
    assert set(report["fresh"]) == set(HEAD)
    fresh = Task("resnet", OPTIONS, 3, names).build(seed=2)
    assert torch.equal(network.head.weight, fresh.head.weight)
    assert network.head.out_features == len(names)
    assert torch.equal(network.trunk[0].weight, load(tmp_path / "m", "weights").trunk[0].weight)


def test_from_colour_to_grey_the_first_convolution_is_summed(tmp_path: Path) -> None:
    network, report = transfer(source(tmp_path / "m", in_channels=3), 1, NAMES, "parameter", seed=2)
    given = load(tmp_path / "m", "weights")
    assert report["adapted"] == [FIRST]
    torch.testing.assert_close(network.state_dict()[FIRST], given.state_dict()[FIRST].sum(dim=1, keepdim=True))
    grey = torch.rand(2, 1, 8, 8)
    with torch.no_grad():  # a grey picture looks to the one as its three equal channels look to the other
        torch.testing.assert_close(network.eval()(grey), given(grey.expand(-1, 3, -1, -1)))


def test_from_grey_to_colour_it_is_spread(tmp_path: Path) -> None:
    network, report = transfer(source(tmp_path / "m", in_channels=1), 3, NAMES, "parameter", seed=2)
    given = load(tmp_path / "m", "weights")
    assert report["adapted"] == [FIRST]
    weight = network.state_dict()[FIRST]
    for channel in range(3):
        torch.testing.assert_close(weight[:, channel : channel + 1], given.state_dict()[FIRST] / 3)
    grey = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(grey.expand(-1, 3, -1, -1)), given(grey))


def test_structure_takes_the_architecture_only(tmp_path: Path) -> None:
    network, report = transfer(source(tmp_path / "m"), 3, NAMES, "structure", seed=2)
    fresh = Task("resnet", OPTIONS, 3, NAMES).build(seed=2).state_dict()
    assert report["taken"] == report["adapted"] == []
    assert all(torch.equal(value, fresh[name]) for name, value in network.state_dict().items())


def test_without_a_source_domain_all_is_fresh(tmp_path: Path) -> None:
    network, report = transfer(source(tmp_path / "m", in_channels=1, names=()), 3, NAMES, "parameter", seed=2)
    assert set(report["fresh"]) == set(network.state_dict())


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    task = Task("resnet", OPTIONS, 1, NAMES)
    network = task.build(seed=5)
    save(tmp_path / "m", task, {"loss/seed-0": network}, {"more.json": {"x": 1}})
    assert load_task(tmp_path / "m") == task
    again = load(tmp_path / "m", "loss/seed-0").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in network.state_dict().items())
    assert (tmp_path / "m" / "more.json").read_text() == '{\n  "x": 1\n}\n'


def test_a_folder_without_a_model_or_with_damaged_weights_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"empty: holds no model \(.*\); has its stage run\?$"):
        load_task(tmp_path / "empty")
    folder = source(tmp_path / "m")
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match=r"weights\.safetensors: holds no weights"):
        load(folder, "weights")
    with pytest.raises(UserError, match=r"other\.safetensors: holds no weights"):
        load(folder, "other")
