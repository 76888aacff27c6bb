"""Networks of timm: what their images become, how they are sized, and what is said of a wrong name or size."""

from typing import Any

import pytest
import torch

from pipeline import backbones
from pipeline.backbones import Network
from pipeline.errors import UserError


def make(name: str, seed: int = 0, in_channels: int = 3, **options: Any) -> Network:
    return backbones.create(name, options, in_channels, 4, seed)


def test_images_are_resized_and_normalised_as_the_weights_were_trained() -> None:
    network = make("resnet_imagenet", depth=18, image_size=32).eval()
    seen: list[torch.Tensor] = []
    network.trunk.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    colours = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)
    with torch.no_grad():
        network(colours.expand(1, 3, 8, 8))
    assert seen[0].shape == (1, 3, 32, 32)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]  # ImageNet's mean and deviation
    torch.testing.assert_close(seen[0].mean(dim=(0, 2, 3)), torch.tensor(expected))


def test_a_grey_image_is_seen_as_its_three_equal_channels_with_the_same_weights() -> None:
    grey, colour = (
        make("resnet_imagenet", in_channels=channels, depth=18, image_size=32).eval() for channels in (1, 3)
    )
    images = torch.rand(2, 1, 20, 20) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(("depth", "millions"), [(18, 11.18), (50, 23.51)])
def test_the_resnets_have_the_published_number_of_weights_before_the_head(depth: int, millions: float) -> None:
    """torchvision's documentation: 11,689,512 and 25,557,032 with a head of (features + 1) * 1000."""
    width = {18: 512, 50: 2048}[depth]
    total = sum(
        parameter.numel() for parameter in make("resnet_imagenet", depth=depth, image_size=32).trunk.parameters()
    )
    assert total == {18: 11_689_512, 50: 25_557_032}[depth] - (width + 1) * 1000
    assert total / 1e6 == pytest.approx(millions, abs=0.01)


def test_the_inception_with_the_mlp_is_pooled_features_then_1024_512_and_the_classes() -> None:
    network = backbones.create(
        "inception_v3", {"image_size": 75}, 3, 4, 0, "mlp", {"hidden": [1024, 512], "dropout": 0}
    )
    assert [(layer.in_features, layer.out_features) for layer in (*network.neck[::2], network.head)] == [
        *((2048, 1024), (1024, 512), (512, 4))
    ]


def test_a_transformer_is_made_for_the_size_that_is_asked_for() -> None:
    network = make("timm", model="vit_tiny_patch16_224", image_size=48)
    assert network.trunk.model.pos_embed.shape == (1, 1 + 3 * 3, 192)
    assert len(network.stages) == 13  # patches, then twelve blocks, the last with the final norm


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("timm", {"model": "resnet1", "image_size": 32}, r"timm has no network 'resnet1'; near it: (\w+, )*resnet18"),
        (
            "timm",
            {"model": "resnet18.a9_in1k", "image_size": 32},
            r"no network 'resnet18\.a9_in1k'; near it: .*a1_in1k",
        ),
        (
            "timm",
            {"model": "inception_v3", "image_size": 40},
            r"inception_v3 can't see images of 40 pixels a side \(.*Kernel size",
        ),
        ("timm", {"model": "vit_tiny_patch16_224", "image_size": 8}, r"of 8 pixels a side"),
    ],
)
def test_a_wrong_name_or_size_is_one_line_that_says_what_is_there(
    name: str, options: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=rf"^params\.yaml: train_source\.backbones\.{name}: .*{line}") as caught:
        make(name, **options)
    assert "\n" not in str(caught.value)


def test_the_inception_tells_the_least_size_before_anything_runs() -> None:
    with pytest.raises(
        UserError, match=r"inception_v3\.image_size should be greater than or equal to 75 or .*, got 40$"
    ):
        make("inception_v3", image_size=40)
