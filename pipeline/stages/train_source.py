"""Trains the network on the source domain, from which every arm's classifier starts."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from pipeline import registry
from pipeline.atomic import write_json
from pipeline.dataset import Dataset, PixelStore
from pipeline.params import section
from pipeline.progress import log
from pipeline.training.classifier import fit
from pipeline.training.classifier_task import TrainingData
from pipeline.training.device import threads_for
from pipeline.training.inference import logits_and_features
from pipeline.training.recipe import Recipe
from pipeline.training.transfer import Task, save

HELD_OUT = 0.1


@section
class Params:
    """Section `train_source` of params.yaml; the network named here is the one of every arm."""

    backbone: str
    backbones: Annotated[
        dict[str, dict[str, Any]],
        registry.checked_options("pipeline.backbones", "backbone", "params.yaml: train_source.backbones"),
    ]
    head: Annotated[str, registry.known("pipeline.heads")]
    heads: Annotated[
        dict[str, dict[str, Any]],
        registry.checked_options("pipeline.heads", "head", "params.yaml: train_source.heads"),
    ]
    seed: Annotated[int, Field(ge=0)]
    recipe: Recipe

    def task(self, in_channels: int, class_names: tuple[str, ...]) -> Task:
        """The network for images of so many channels and these classes."""
        options, head_options = self.backbones[self.backbone], self.heads[self.head]
        return Task(self.backbone, options, in_channels, class_names, self.head, head_options)


def run(data: Path, out: Path, metrics: Path, params: Params) -> None:
    """Trains on nine tenths of `data`, reports the accuracy on the rest; without data only the architecture is kept."""
    source = Dataset.open(data)
    if not source.num_rows:
        save(out, params.task(1, ()), {})
        write_json(metrics, {"transferred": False})
        log("train_source: no source domain; every arm starts from fresh weights")
        return
    store = PixelStore(source)
    task = params.task(store.image_shape[0], source.class_names)
    order = np.random.default_rng(params.seed).permutation(len(store))
    held, rows = np.split(order, [int(HELD_OUT * len(store))])
    training = TrainingData(store, rows)
    with threads_for(store.image_shape):
        network, _ = fit(
            task.build(params.seed), "cross_entropy", training, params.recipe, params.seed, "train_source", show=True
        )
    logits, _ = logits_and_features(network, store.images(held))
    accuracy = float((logits.argmax(1).numpy() == store.labels[held]).mean())
    save(out, task, {"weights": network})
    write_json(metrics, {"transferred": True, "images": len(rows), "held_out_accuracy": round(accuracy, 6)})
    log(f"train_source: accuracy {accuracy:.3f} on {len(held)} held-out images of the source domain")
