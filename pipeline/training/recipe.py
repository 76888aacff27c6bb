"""How a classifier is trained: the sections of params.yaml that are the same in every arm."""

from dataclasses import field
from typing import Annotated, Any

from pydantic import Field, field_validator

from pipeline import registry
from pipeline.params import section
from pipeline.training.schedule import Schedule
from pipeline.training.transfer import How
from pipeline.transforms.mixing import Mixing
from pipeline.transforms.policy import Policy


@section
class HeadRetraining:
    """The head alone, trained anew by cross-entropy when all else has been trained (cRT, Kang et al. 2020).

    Attributes:
        steps: updates; 0 leaves the head as it is.
        lr: highest learning rate.
        class_balance: as in `Recipe`; the paper draws every class as often.
    """

    steps: Annotated[int, Field(ge=0)] = 0
    lr: Annotated[float, Field(gt=0)] = 0.002
    class_balance: Annotated[float, Field(ge=0, le=1)] = 1.0


@section
class Recipe:
    """How a classifier is trained, whatever the data.

    Attributes:
        schedule: number and size of updates.
        augmentation: on-the-fly changes.
        views: those of the further views that a contrastive loss wants; as `augmentation` if not given.
        class_balance: 0 draws real images as they come, 1 every class as often; what is between draws a class in
            proportion to n^(1 - class_balance). Losses are told the class counts as they are drawn.
        label_smoothing: share of each label that is spread over the classes, for each loss that has one.
        mixing: of two images and their labels, after those changes.
        head_retraining: what comes after.
    """

    schedule: Schedule
    augmentation: Policy
    views: Policy | None = None
    class_balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    label_smoothing: dict[str, Annotated[float, Field(ge=0, lt=1)]]
    mixing: Mixing = Mixing()
    head_retraining: HeadRetraining = HeadRetraining()

    @field_validator("label_smoothing")
    @classmethod
    def _known_losses(cls, given: dict[str, float]) -> dict[str, float]:
        for name in given:
            registry.get("pipeline.losses", name)
        return given


@section
class Added:
    """How added (augmented, synthetic) images enter.

    Attributes:
        weight: weight of the loss over added images beside that over real ones, at the start.
        final_weight: the same at the end; it changes linearly, so that real images can have the last word.
        batch_size: added images an update, beside the real ones.
    """

    weight: Annotated[float, Field(ge=0)]
    final_weight: Annotated[float, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=1)]


@section
class Arm:
    """What the classifiers of all arms have in common.

    Attributes:
        loss: the loss of the augmented and completed arms.
        losses: options of each loss; what is left out is as its file says.
    """

    loss: Annotated[str, registry.known("pipeline.losses")]
    losses: Annotated[
        dict[str, dict[str, Any]],
        registry.checked_options("pipeline.losses", None, "params.yaml: train_classifier.losses"),
    ] = field(default_factory=dict)
    transfer: How
    recipe: Recipe
    added: Added
