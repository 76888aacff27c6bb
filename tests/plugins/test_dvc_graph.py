import json
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.dvc_graph import read_graph

ROOT = Path(__file__).resolve().parents[2]

PARAMS = """
ingest: {classes: 3, strict: true}
train_generator: {name: vae}
"""

STAGES = """
stages:
  ingest:
    cmd: python -m pipeline ingest --out data/real --strict ${ingest.strict}
    deps: [source.json]
    params: [ingest]
    outs: [data/real/train, {data/real/test: {persist: true}}]
    meta: {queue: cpu}
  train_baseline:
    cmd: python -m pipeline train_classifier --data data/real --model models/baseline
    deps: [data/real]
    params: [train_classifier, other.yaml: [a, b], whole.yaml: ]
    outs: [models/baseline]
    metrics: [results/train_baseline/metrics.json]
    plots: [results/train_baseline/loss.csv: {x: step}]
    meta: {queue: gpu}
  train_generator:
    cmd: python -m pipeline train_generator --data data/real/train --model models/generator
    deps: ["pipeline/generators/${ train_generator.name }.py", ./data/real/train/shard.parquet]
    outs: [models/generator]
    meta: {queue: gpu}
  report:
    cmd: python -m pipeline report
    deps: [results/train_baseline/metrics.json, models/generator, models/baseline_of_someone_else]
    outs: [results/report]
    meta: {queue: cpu}
"""


def write(root: Path, stages: str, params: str = PARAMS) -> Path:
    (root / "dvc.yaml").write_text(stages)
    (root / "params.yaml").write_text(params)
    return root


def one_stage(cmd: str = "python -m pipeline a", queue: str = "cpu", more: str = "") -> str:
    return f"stages:\n  a:\n    cmd: {cmd}\n    meta: {{queue: {queue}}}\n{more}"


def two_stages(a: str, b: str) -> str:
    lines = ["stages:"]
    for name, body in (("a", a), ("b", b)):
        lines += [f"  {name}:", f"    cmd: python -m pipeline {name}", "    meta: {queue: cpu}", f"    {body}"]
    return "\n".join(lines)


def test_reads_a_graph(tmp_path: Path) -> None:
    graph = read_graph(write(tmp_path, STAGES))

    assert list(graph) == ["ingest", "train_baseline", "train_generator", "report"]
    assert [stage.module for stage in graph.values()] == ["ingest", "train_classifier", "train_generator", "report"]
    assert [stage.queue for stage in graph.values()] == ["cpu", "gpu", "gpu", "cpu"]
    assert graph["ingest"].cmd == "python -m pipeline ingest --out data/real --strict true"
    assert graph["ingest"].outs == ("data/real/train", "data/real/test")
    assert graph["train_baseline"].outs == (
        "models/baseline",
        "results/train_baseline/metrics.json",
        "results/train_baseline/loss.csv",
    )
    assert graph["train_baseline"].params == ("train_classifier", "other.yaml:a", "other.yaml:b", "whole.yaml:")
    assert graph["train_generator"].deps == ("pipeline/generators/vae.py", "data/real/train/shard.parquet")


def test_a_dep_that_equals_holds_or_lies_in_an_out_makes_an_edge(tmp_path: Path) -> None:
    graph = read_graph(write(tmp_path, STAGES))

    assert {name: stage.upstream for name, stage in graph.items()} == {
        "ingest": (),
        "train_baseline": ("ingest",),  # its dep holds the outs
        "train_generator": ("ingest",),  # its dep lies in an out
        "report": ("train_baseline", "train_generator"),  # equal; a longer name beside an out is none
    }


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("vars: []", r"dvc\.yaml: has no stages"),
        ("stages: [", r"dvc\.yaml: is not YAML: while parsing"),
        ("[]", r"dvc\.yaml: must hold a mapping, got list"),
        ("stages: {a: python}", r"stages\.a must be a mapping, got str"),
        (one_stage(more="    foreach: [1]"), r"stages\.a has foreach; known keys: cmd, deps"),
        (one_stage(cmd="make"), r"stages\.a\.cmd must begin with 'python -m pipeline MODULE', got 'make'"),
        (one_stage(queue="tpu"), r"stages\.a\.meta\.queue must be cpu or gpu, got 'tpu'"),
        (one_stage(more="    deps: ['${a.b}']"), r"stages\.a names \$\{a\.b\}, which params\.yaml does not hold"),
        (two_stages("outs: [x]", "outs: [./x]"), r"a writes x and b writes x"),
        (two_stages("outs: [x]", "metrics: [x/y]"), r"a writes x and b writes x/y"),
    ],
)
def test_a_mistake_is_one_clear_line(tmp_path: Path, stages: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read_graph(write(tmp_path, stages))
    assert "\n" not in str(caught.value)


def test_a_circle_is_named(tmp_path: Path) -> None:
    circle = two_stages("deps: [y]\n    outs: [x]", "deps: [x]\n    outs: [y]")
    with pytest.raises(ValueError, match=r"form a circle: (a -> b -> a|b -> a -> b)"):
        read_graph(write(tmp_path, circle))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"dvc\.yaml: no such file"):
        read_graph(tmp_path)


# What DVC itself says of the same folder, asked in its own process: stage name -> names of the stages it follows.
ASK_DVC = """
import json
from dvc.repo import Repo
graph = Repo(uninitialized=True).index.graph
print(json.dumps({stage.name: sorted(up.name for up in graph.successors(stage)) for stage in graph}))
"""


def upstream_by_dvc(root: Path) -> dict[str, list[str]]:
    done = subprocess.run([sys.executable, "-c", ASK_DVC], cwd=root, check=True, capture_output=True, text=True)
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("project", ["small", "ours"])
def test_the_graph_is_dvcs_own(tmp_path: Path, project: str) -> None:
    root = ROOT if project == "ours" else write(tmp_path, STAGES)
    graph = read_graph(root)
    assert {name: sorted(stage.upstream) for name, stage in graph.items()} == upstream_by_dvc(root)
