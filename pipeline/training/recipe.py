"""How a classifier is trained: the sections of params.yaml that are the same in every arm."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline import registry
from pipeline.params import section
from pipeline.training.fine_tuning import FineTuning
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
    label_smoothing: dict[Annotated[str, registry.known("pipeline.losses")], Annotated[float, Field(ge=0, lt=1)]]
    mixing: Mixing = Mixing()
    head_retraining: HeadRetraining = HeadRetraining()


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

    def weight_at(self, progress: float) -> float:
        """The weight when this share of the training is done."""
        return self.weight + progress * (self.final_weight - self.weight)


@section
class Feature:
    """How f(x) = W f_S(x) + b is learned on a source's frozen features f_S.

    Attributes:
        fit: "closed_form", the one minimum on the images as they are; "sgd", by the recipe.
        decay: of the closed form, pull of W and b towards 0, or towards the source's head where the classes are its.
    """

    fit: Literal["closed_form", "sgd"] = "closed_form"
    decay: Annotated[float, Field(gt=0)] = 0.01


@section
class Arm:
    """What the classifiers of all arms have in common.

    Attributes:
        loss: the loss of the augmented and completed arms.
        losses: options of each loss; what is left out is as its file says.
        transfer: what is taken from the source's network.
        structure: options of the backbone that the arms' networks have other than the source's.
        feature: of the transfer of that name.
        fine_tuning: of the transfer "parameter".
    """

    loss: Annotated[str, registry.known("pipeline.losses")]
    losses: Annotated[
        dict[str, dict[str, Any]],
        registry.checked_options("pipeline.losses", None, "params.yaml: train_classifier.losses"),
    ] = field(default_factory=dict)
    transfer: How
    structure: dict[str, Any] = field(default_factory=dict)
    feature: Feature = Feature()
    fine_tuning: FineTuning = FineTuning()
    recipe: Recipe
    added: Added

    @model_validator(mode="after")
    def _goes_with_the_transfer(self) -> "Arm":
        place = "params.yaml: train_classifier"
        if self.transfer == "feature" and self.structure:
            raise ValueError(f"{place}.structure must be {{}} where transfer is feature, got {self.structure}")
        if self.transfer != "parameter" and self.fine_tuning != FineTuning():
            raise ValueError(f"{place}.fine_tuning goes with transfer: parameter, got {self.transfer!r}")
        return self
