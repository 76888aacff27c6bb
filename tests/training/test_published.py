"""Weights under the names of torchvision and timm, in files made here."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline import backbones, torchvision_ops
from pipeline.backbones import Network
from pipeline.errors import UserError
from pipeline.training.published import load_published


def resnet18(seed: int = 0, depth: int = 18) -> Network:
    return backbones.create("resnet_imagenet", {"depth": depth, "image_size": 32}, 3, 4, seed)


def vit(side: int, seed: int = 0) -> Network:
    return backbones.create("timm", {"model": "vit_tiny_patch16_224", "image_size": side}, 3, 4, seed)


def as_published(network: Network, classifier: str = "fc") -> dict[str, Tensor]:
    """The weights as torchvision and timm name them, with a head for 1000 classes."""
    prefix = "trunk.model."
    weights = {name.removeprefix(prefix): v for name, v in network.state_dict().items() if name.startswith(prefix)}
    width = network.head.in_features
    return weights | {f"{classifier}.weight": torch.zeros(1000, width), f"{classifier}.bias": torch.zeros(1000)}


@pytest.fixture(scope="module")
def source() -> Network:
    return resnet18(seed=5)


def test_the_names_are_torchvision_s(source: Network) -> None:
    names = as_published(source)
    expected = {"conv1.weight": [64, 3, 7, 7], "bn1.running_mean": [64], "layer1.0.conv1.weight": [64, 64, 3, 3]}
    expected |= {"layer2.0.downsample.0.weight": [128, 64, 1, 1], "layer4.1.bn2.weight": [512], "fc.bias": [1000]}
    assert {name: list(names[name].shape) for name in expected} == expected


@pytest.mark.parametrize("kind", ["resnet18", "inception_v3"])
def test_a_network_of_torchvision_s_gives_the_features_that_it_gives_there(tmp_path: Path, kind: str) -> None:
    torchvision_ops.declare()
    from torchvision import models

    given = models.resnet18() if kind == "resnet18" else models.inception_v3(init_weights=False)
    torch.save(given.state_dict(), tmp_path / "w.pth")
    side = 32 if kind == "resnet18" else 75
    options: dict[str, Any] = {"image_size": side} | ({"depth": 18} if kind == "resnet18" else {})
    network = backbones.create("resnet_imagenet" if kind == "resnet18" else kind, options, 3, 4, 0).eval()
    report = load_published(network, str(tmp_path / "w.pth"), None)
    assert (report["adapted"], sorted(report["fresh"])) == ([], ["head.bias", "head.weight"])
    given.eval().fc = torch.nn.Identity()
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = given((images - network.trunk.mean) / network.trunk.std)
        features = network.features(images * 2 - 1)
    assert float((features - expected).abs().max()) < 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("layout", ["safetensors", "pth", "wrapped", "wrapped twice", "half", "ours"])
def test_files_of_every_layout_give_the_same_network(source: Network, tmp_path: Path, layout: str) -> None:
    weights: Any = as_published(source)
    path = tmp_path / "w.pth"
    if layout in ("safetensors", "ours"):
        path = tmp_path / "w.safetensors"
        save_file(
            {name: v.contiguous() for name, v in (weights if layout != "ours" else source.state_dict()).items()}, path
        )
    elif layout == "wrapped":
        torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in weights.items()}}, path)
    elif layout == "wrapped twice":
        torch.save({"model": {"state_dict": {f"module.model.{name}": value for name, value in weights.items()}}}, path)
    elif layout == "half":
        torch.save(
            {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}, path
        )
    else:
        torch.save(weights, path)
    network = resnet18(seed=1)
    head = network.head.weight.clone()
    report = load_published(network, str(path), None)
    assert sorted(report["fresh"]) == ["head.bias", "head.weight"]
    assert report["adapted"] == []
    assert torch.equal(network.head.weight, head)
    for name, value in network.trunk.state_dict().items():
        expected = source.trunk.state_dict()[name]
        assert torch.equal(
            value, expected.half().float() if layout == "half" and value.is_floating_point() else expected
        )


def test_weights_for_colours_become_weights_for_grey_where_a_network_is_grey(tmp_path: Path) -> None:
    options = {"depth": 8, "width": 4}
    colour, grey = (backbones.create("resnet", options, channels, 3, channels) for channels in (3, 1))
    names = {name.removeprefix("trunk."): value.contiguous() for name, value in colour.trunk.state_dict().items()}
    save_file(names, tmp_path / "w.safetensors")
    assert load_published(grey, str(tmp_path / "w.safetensors"), None)["adapted"] == ["trunk.0.weight"]
    torch.testing.assert_close(grey.trunk[0].weight, colour.trunk[0].weight.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("side", [32, 64])
def test_a_transformer_s_positions_are_interpolated_for_another_size(tmp_path: Path, side: int) -> None:
    given = vit(48, seed=3)
    torch.save(as_published(given, "head"), tmp_path / "w.pth")
    network = vit(side)
    report = load_published(network, str(tmp_path / "w.pth"), None)
    assert report["adapted"] == ["trunk.model.pos_embed"]
    assert sorted(report["fresh"]) == ["head.bias", "head.weight"]
    own, old = network.trunk.model.pos_embed, given.trunk.model.pos_embed
    torch.testing.assert_close(own[:, 0], old[:, 0])  # the class token has no place
    assert own.shape == (1, 1 + (side // 16) ** 2, 192)


def test_the_sha256_is_checked(source: Network, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(as_published(source), path)
    load_published(resnet18(), str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(
        UserError, match=r"w\.pth: its sha256 is [0-9a-f]{64}, not 0{64} as train_source\.weights_sha256"
    ):
        load_published(resnet18(), str(path), "0" * 64)


@pytest.mark.parametrize(("theirs", "own"), [(34, 18), (18, 34), (50, 18)])
def test_a_file_of_another_depth_is_refused_with_its_share_and_examples(tmp_path: Path, theirs: int, own: int) -> None:
    torch.save(as_published(resnet18(depth=theirs)), tmp_path / "w.pth")
    network = resnet18(depth=own)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pattern = (
        r"^params\.yaml: train_source\.weights: \S+w\.pth is of another network: \d+% of this one's weights are in it, "
        r"and \d+% of its weights are in this one; expected such as \S+ \[[\d, ]*\], "
        r"and it has such as \S+ \[[\d, ]*\]$"
    )
    with pytest.raises(UserError, match=pattern):
        load_published(network, str(tmp_path / "w.pth"), None)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class Code:
    """What a pickle may hold besides weights: here a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_what_is_no_file_of_weights_is_one_line_and_code_in_it_never_runs(source: Network, tmp_path: Path) -> None:
    network = resnet18()
    torch.save({"state_dict": Code(tmp_path / "ran")}, tmp_path / "code.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    for name in ("noise.pth", "noise.safetensors"):
        (tmp_path / name).write_bytes(b"nonsense" * 10)
    told = {
        "code.pth": "is no file of weights alone (",
        "empty.pth": "holds no weights; expected names and tensors",
        "noise.pth": "is no file of weights alone (",
        "noise.safetensors": "is no safetensors file (",
        "missing.pth": "can't be read (No such file or directory)",
    }
    for name, line in told.items():
        with pytest.raises(UserError) as caught:
            load_published(network, str(tmp_path / name), None)
        assert str(caught.value).startswith(f"params.yaml: train_source.weights: {tmp_path / name}: {line}")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_name_of_timm_s_without_network_and_cache_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        UserError, match=r"resnet18\.a1_in1k is not in the cache \(.*\) and can't be fetched \(\w+\); "
    ) as caught:
        load_published(resnet18(), "timm:resnet18.a1_in1k", None)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"timm has no weights 'resnet18\.a9'; near it: resnet18\."):
        load_published(resnet18(), "timm:resnet18.a9", None)


def test_a_name_of_timm_s_gives_its_weights(source: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def create(name: str, pretrained: bool) -> torch.nn.Module:
        assert (name, pretrained) == ("resnet18.a1_in1k", True)
        model = created("resnet18", num_classes=1000)
        model.load_state_dict(as_published(source))
        return model

    created = timm.create_model
    network = resnet18(seed=1)
    monkeypatch.setattr(timm, "create_model", create)  # the network
    report = load_published(network, "timm:resnet18.a1_in1k", None)
    assert sorted(report["fresh"]) == ["head.bias", "head.weight"]
    assert torch.equal(network.trunk.model.conv1.weight, source.trunk.model.conv1.weight)
