import math

import torch
from torch import nn

from pipeline import heads


def test_the_cosine_s_logits_by_hand_whatever_the_lengths() -> None:
    (head,) = heads.create("cosine", {"scale": 10.0}, 2, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0, 0.0], [1.0, 1.0]]))
        logits = head(torch.tensor([[0.5, 0.0], [0.0, 8.0]]))
    torch.testing.assert_close(logits, torch.tensor([[10.0, 10 / math.sqrt(2)], [0.0, 10 / math.sqrt(2)]]))


def test_the_mlp_s_layers_are_those_asked_for() -> None:
    layers = heads.create("mlp", {"hidden": [6, 4], "dropout": 0.5}, 8, 3)
    assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Dropout] * 2 + [nn.Linear]
    assert [(layer.in_features, layer.out_features) for layer in layers[::3]] == [(8, 6), (6, 4), (4, 3)]
