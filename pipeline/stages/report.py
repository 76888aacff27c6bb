"""Writes the report: one HTML page that shows what came in, what was made, and whether it helped."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.atomic import new_folder, write_text
from pipeline.dataset import Dataset
from pipeline.params import section
from pipeline.plan import read as read_plan
from pipeline.progress import log
from pipeline.report import bias, inputs, page, synthesis
from pipeline.report.arms import KEYS


@section
class Params:
    """Section `report` of params.yaml.

    Attributes:
        images_per_class: images in each row of the sheet.
    """

    images_per_class: Annotated[int, Field(ge=1, le=50)]


def run(
    train: Path,
    augmented: Path,
    synthetic: Path,
    quarantine: Path,
    ingest: Path,
    analyze_bias: Path,
    findings: Path,
    plan: Path,
    synthesize: Path,
    fidelity: Path,
    samples: Path,
    evaluate: Path,
    confusion: Path,
    generator_curve: Path,
    baseline_curves: Path,
    augmented_curves: Path,
    completed_curves: Path,
    out: Path,
    params: Params,
) -> None:
    """Writes `out`/index.html.

    Args:
        ingest, analyze_bias, synthesize, evaluate: metrics (JSON) of these stages.
        findings, plan: what `analyze_bias` found and planned (JSON).
        fidelity: figures of the accepted images (CSV).
        samples: sheets that the generator's training wrote (PNG).
        confusion: confusions of each arm (CSV).
        generator_curve, baseline_curves, augmented_curves, completed_curves: loss curves (CSV).

    Raises:
        UserError: a file is missing or damaged.
    """
    curves = {"baseline": baseline_curves, "augmented": augmented_curves, "completed": completed_curves}
    data = Dataset.open(train)
    content = page.Content(
        train=data,
        augmented=Dataset.open(augmented),
        synthetic=Dataset.open(synthetic),
        quarantine=inputs.read_csv(quarantine / "quarantine.csv", ["reason"], text=["name", "reason"]),
        ingest=inputs.read_json(ingest, ["files", "refused", "duplicates", "image_size", "channels", "images"]),
        analyze_bias=inputs.read_json(analyze_bias, bias.METRIC_KEYS),
        findings=inputs.read_json(findings, bias.FINDING_KEYS),
        plan=read_plan(plan),
        synthesize=inputs.read_json(synthesize, synthesis.KEYS),
        fidelity=inputs.read_csv(fidelity, ["class", "synthetic", *synthesis.COLUMNS], text=["class"]),
        samples=synthesis.samples(samples, data.image_shape),
        metrics=inputs.read_json(evaluate, KEYS),
        confusion=inputs.read_csv(
            confusion, ["arm", "actual", "predicted", "images"], text=["arm", "actual", "predicted"]
        ),
        generator_curve=inputs.read_csv(generator_curve, ["step", "player", "loss"], text=["player"]),
        curves={
            arm: inputs.read_csv(path, ["classifier", "step", "loss"], text=["classifier"])
            for arm, path in curves.items()
        },
    )
    text = page.render(content, params.images_per_class)
    with new_folder(out) as folder:
        write_text(folder / "index.html", text)
    log(f"report: {content.metrics['verdict']}: {out / 'index.html'}")
