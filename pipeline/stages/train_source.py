"""Makes the network that every arm's classifier starts from: published weights, trained on a source domain, or both."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from pipeline import registry
from pipeline.atomic import write_json
from pipeline.backbones import Network
from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.params import section, unknown
from pipeline.progress import log
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.classifier import CODE, fit
from pipeline.training.classifier_task import TrainingData
from pipeline.training.device import threads_for
from pipeline.training.inference import logits_and_features
from pipeline.training.published import load_published
from pipeline.training.recipe import Recipe
from pipeline.training.self_supervised import fit_without_labels
from pipeline.training.transfer import Task, save

HELD_OUT = 0.1
TASKS = "pipeline.source_tasks"
SUPERVISED, NOTHING = "supervised", "none"


@section
class Params:
    """Section `train_source` of params.yaml; the network named here is the one of every arm.

    Attributes:
        weights: what the network starts from, as `training.published` reads it; null: fresh weights.
        weights_sha256: of that file, so that equal params mean equal results.
        task: what it then learns: "supervised", a file of pipeline/source_tasks, or "none".
        images: the folder of data/ that it learns from.
    """

    backbone: str
    backbones: Annotated[
        dict[str, dict[str, Any]],
        registry.checked_options("pipeline.backbones", "backbone", "params.yaml: train_source.backbones"),
    ]
    head: str
    heads: Annotated[
        dict[str, dict[str, Any]],
        registry.checked_options("pipeline.heads", "head", "params.yaml: train_source.heads"),
    ]
    weights: Annotated[str, Field(min_length=1)] | None = None
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    task: str = SUPERVISED
    source_tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    images: Literal["source_domain", "real/train"] = "source_domain"
    seed: Annotated[int, Field(ge=0)]
    recipe: Recipe

    @model_validator(mode="after")
    def _task_is_known(self) -> "Params":
        place = "params.yaml: train_source"
        if self.task not in (SUPERVISED, NOTHING):
            known = (SUPERVISED, NOTHING, *registry.names(TASKS))
            if self.task not in known:
                raise UserError(f"{place}.task: {unknown('task', self.task, known)}")
            registry.check_options(TASKS, self.task, self.source_tasks, f"{place}.source_tasks")
        elif self.images == "real/train":
            raise UserError(
                f"{place}.images must be source_domain where task is {self.task}, got real/train: from its labels the "
                "arms learn"
            )
        return self

    def network(self, in_channels: int, class_names: tuple[str, ...]) -> Task:
        """The network for images of so many channels and these classes."""
        options, head_options = self.backbones[self.backbone], self.heads[self.head]
        return Task(self.backbone, options, in_channels, class_names, self.head, head_options)


def run(data: Path, out: Path, metrics: Path, params: Params) -> None:
    """Writes the network that every arm starts from: published weights, what it learns from `data`, or both in turn.

    Without either only the architecture is kept. Killed half-way, the next run goes on from the last checkpoint.

    Raises:
        UserError: the weights are not there, or of another network.
    """
    source = Dataset.open(data)
    learns = source.num_rows > 0 and params.task != NOTHING
    if not learns and params.weights is None:
        save(out, params.network(1, ()), {})
        write_json(metrics, {"transferred": False})
        log("train_source: no source domain; every arm starts from fresh weights")
        return
    store = PixelStore(source) if learns else None
    in_channels = store.image_shape[0] if store else 3
    task = params.network(in_channels, source.class_names if store and params.task == SUPERVISED else ())
    network = task.build(params.seed)
    checkpoint = Checkpoint([params, source.digest if learns else None], (*CODE, "source_tasks"))
    figures: dict[str, Any] = {}
    fresh: list[str] = []
    if params.weights is not None:
        report = load_published(network, params.weights, params.weights_sha256)
        fresh = report["fresh"]
        figures = {"weights": {fate: len(names) for fate, names in report.items()}}
        log(f"train_source: {len(report['taken'])} weights taken from {params.weights}")
    if store is not None:
        with threads_for(store.image_shape):
            learn = _with_labels if params.task == SUPERVISED else _without_labels
            network, learned = learn(network, store, params, checkpoint)
        figures |= learned
        fresh = []
    save(out, task, {"weights": network}, without=fresh)
    checkpoint.remove()
    write_json(metrics, {"transferred": True} | figures)


Learned = tuple[Network, dict[str, Any]]


def _with_labels(network: Network, store: PixelStore, params: Params, checkpoint: Checkpoint) -> Learned:
    """Trains on nine tenths of the images, and tells the accuracy on the rest."""
    order = np.random.default_rng(params.seed).permutation(len(store))
    held, rows = np.split(order, [int(HELD_OUT * len(store))])
    training = TrainingData(store, rows)
    how, seed = params.recipe, params.seed
    network, _ = fit(network, "cross_entropy", training, how, seed, "train_source", show=True, checkpoint=checkpoint)
    logits, _ = logits_and_features(network, store.images(held))
    accuracy = float((logits.argmax(1).numpy() == store.labels[held]).mean())
    log(f"train_source: accuracy {accuracy:.3f} on {len(held)} held-out images of the source domain")
    return network, {"images": len(rows), "held_out_accuracy": round(accuracy, 6)}


def _without_labels(network: Network, store: PixelStore, params: Params, checkpoint: Checkpoint) -> Learned:
    """Trains on all images by the file of pipeline/source_tasks that `params.task` names."""
    options, recipe = params.source_tasks[params.task], params.recipe
    network, points = fit_without_labels(
        network, params.task, options, store, recipe.schedule, recipe.augmentation, params.seed, checkpoint
    )
    log(f"train_source: loss {points[-1].loss:.3f} of {params.task} on {len(store)} images, labels unseen")
    return network, {"images": len(store), "task": params.task, "final_loss": round(points[-1].loss, 6)}
