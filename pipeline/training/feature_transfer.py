"""Transfer by features: the source's network stays as it is, and f(x) = W f_S(x) + b is found as one minimum."""

from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline import losses
from pipeline.backbones import Network
from pipeline.errors import UserError
from pipeline.losses import Facts, Loss
from pipeline.training.batches import class_balanced_probs
from pipeline.training.classifier_task import ClassifierTask, TrainingData
from pipeline.training.head import Term, minimise
from pipeline.training.inference import logits_and_features
from pipeline.training.loop import Point
from pipeline.training.recipe import Recipe
from pipeline.training.transfer import Report

INSTEAD = "take train_classifier.feature.fit: sgd"


def fit_features(
    network: Network,
    report: Report,
    loss: str,
    options: dict[str, Any],
    data: TrainingData,
    recipe: Recipe,
    decay: float,
) -> tuple[Network, list[Point]]:
    """Fits the head on features of the images as they are, real ones and added ones with their mean weight.

    A fresh head is pulled towards 0, a source's own one, where the classes are the same, towards itself.

    Args:
        report: what of the network is the source's.

    Raises:
        UserError: the head is no linear one, or the loss is none of logits alone.
    """
    facts = Facts(network.head.in_features, network.head.out_features, recipe.label_smoothing.get(loss, 0.0))
    criterion = losses.create(loss, options, facts)
    _check(network, report, loss, criterion)
    if "head.weight" in report["fresh"]:
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.zero_()
    terms = _terms(network, ClassifierTask(network, criterion, data, recipe, seed=0), data, recipe)
    network = network.cpu()
    network.head, values = minimise(network.head, terms, criterion, decay)
    return network.eval(), [Point(number, "classifier", value) for number, value in enumerate(values, start=1)]


def _terms(network: Network, task: ClassifierTask, data: TrainingData, recipe: Recipe) -> list[Term]:
    """The two terms of a classifier's loss."""

    def term(images: Any, labels: Any, weights: Any) -> Term:
        features = logits_and_features(network, images)[1]
        return Term(features, torch.from_numpy(labels), torch.from_numpy(weights).double(), counts.cpu().double())

    labels, added = data.real.labels[data.rows], data.added
    halfway = 0.5  # when the weight of what is added is its mean over a training
    counts = task.class_counts(halfway)
    terms = [term(data.real.images(data.rows), labels, class_balanced_probs(labels, recipe.class_balance))]
    if added is not None and data.how is not None and added.weights.sum() > 0:
        shares = data.how.weight_at(halfway) * added.weights.astype(np.float64) / added.weights.sum()
        terms.append(term(added.images(), added.labels, shares))
    return terms


def _check(network: Network, report: Report, loss: str, criterion: Loss) -> None:
    if type(network.head) is not nn.Linear:
        raise UserError(f"params.yaml: train_source.head: the closed form is that of a linear head; {INSTEAD}")
    if any(name.startswith("neck.") for name in report["fresh"]):
        raise UserError(
            "params.yaml: train_source.head: its hidden layers are not in the source's weights, and the closed form "
            f"learns the last layer only; {INSTEAD}, or head: linear"
        )
    if criterion.views or type(criterion).logits is not Loss.logits or list(criterion.parameters()):
        raise UserError(
            f"params.yaml: train_classifier.loss: the closed form wants a loss of logits alone, got {loss!r}; {INSTEAD}"
        )
