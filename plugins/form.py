"""The trigger form: parameters of a run with sections, limits and descriptions, and defaults from params.yaml."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import Param


@dataclass(frozen=True)
class Field:
    """One entry of the form that changes one value of params.yaml.

    Attributes:
        key: dotted key of params.yaml.
        title, description: what the form shows.
        schema: limits in JSON schema's words.
    """

    key: str
    title: str
    description: str
    section: str
    schema: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the Airflow parameter."""
        return self.key.replace(".", "__")


POSITIVE = {"type": "integer", "minimum": 1}
FIELDS = (
    Field(
        "ingest.source", "Source", "builtin:digits, s3://…, or a path that every worker sees", "Data", {"minLength": 1}
    ),
    Field("ingest_source.source", "Source domain", "Images to transfer from; none for no transfer", "Data"),
    Field("analyze_bias.strategy", "Strategy", "A file of pipeline/strategies: how the plan is made", "Plan"),
    Field(
        "analyze_bias.target",
        "Target",
        "What each class is brought to, in sizes of the largest class",
        "Plan",
        {"type": "number", "minimum": 0, "maximum": 100},
    ),
    Field(
        "analyze_bias.max_augment",
        "Augmented, at most",
        "Augmented images for each real one of the class",
        "Plan",
        {"type": "number", "minimum": 0, "maximum": 1000},
    ),
    Field(
        "analyze_bias.max_synthesize",
        "Synthetic, at most",
        "Synthetic images for each real one of the class",
        "Plan",
        {"type": "number", "minimum": 0, "maximum": 1000},
    ),
    Field("train_generator.name", "Generator", "A file of pipeline/generators", "Generator"),
    Field("train_generator.schedule.steps", "Generator's updates", "Length of its training", "Generator", POSITIVE),
    Field("train_classifier.recipe.schedule.steps", "Classifier's updates", "The same in every arm", "Proof", POSITIVE),
    Field(
        "train_classifier.seeds",
        "Training seeds",
        "Classifiers in each arm; at least 5 for intervals that mean something",
        "Proof",
        {"type": "integer", "minimum": 1, "maximum": 100},
    ),
)
# Fields that name a plug-in, and the folder of `pipeline` whose files may be named.
CHOICES = {"analyze_bias.strategy": "strategies", "train_generator.name": "generators"}


def build(root: Path) -> dict[str, Param]:
    """The form's parameters, with what params.yaml says as defaults."""
    values = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    form = {
        "revision": Param(
            "main",
            type="string",
            minLength=1,
            title="Revision",
            section="Code",
            description="Branch, tag or commit of the git remote",
        ),
    }
    for entry in FIELDS:
        schema = {"type": "string"} | entry.schema
        if entry.key in CHOICES:
            files = (root / "pipeline" / CHOICES[entry.key]).glob("*.py")
            schema["enum"] = sorted(path.stem for path in files if not path.stem.startswith("_"))
        form[entry.name] = Param(
            _value(values, entry.key), title=entry.title, description=entry.description, section=entry.section, **schema
        )
    form["approval"] = Param(
        False,
        type="boolean",
        title="Ask before promoting",
        section="Promotion",
        description="A person approves even where the verdict is ship; for hold a person is always asked",
    )
    return form


def changes(params: dict[str, Any]) -> dict[str, Any]:
    """What a run's parameters change in params.yaml, by dotted key."""
    return {entry.key: params[entry.name] for entry in FIELDS if entry.name in params}


def _value(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
