from pathlib import Path

import pytest
import yaml

from plugins.dvc_graph import read_graph
from plugins.placement import Placement, read_placements
from tests.tiny import ROOT

GRAPH = read_graph(ROOT)
POD = {
    "spec": {
        "nodeSelector": {"accelerator": "nvidia"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [{"name": "base", "resources": {"limits": {"nvidia.com/gpu": 1}}}],
    }
}


@pytest.fixture
def placements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "placement.yaml"
    monkeypatch.setenv("COUNTERWEIGHT_PLACEMENT", str(path))
    return path


def test_without_a_file_everything_goes_where_airflow_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COUNTERWEIGHT_PLACEMENT", raising=False)
    assert all(placement.arguments() == {} for placement in read_placements(GRAPH).values())


def test_a_stage_runs_where_its_kind_does_unless_it_is_named_itself(placements: Path) -> None:
    placements.write_text(
        yaml.safe_dump({"cpu": {"queue": "small"}, "gpu": {"queue": "big", "pool": "gpu"}, "evaluate": {"pool": "own"}})
    )
    found = read_placements(GRAPH)
    assert found["ingest"] == Placement(queue="small")
    assert found["train_generator"] == Placement(queue="big", pool="gpu")
    assert found["evaluate"] == Placement(queue="big", pool="own")
    assert found["evaluate"].arguments() == {"queue": "big", "pool": "own"}
    assert set(found) == set(GRAPH)


def test_a_pod_becomes_kubernetes_own_object(placements: Path) -> None:
    placements.write_text(yaml.safe_dump({"gpu": {"executor": "KubernetesExecutor", "pod": POD}}))
    arguments = read_placements(GRAPH)["train_generator"].arguments()
    assert arguments["executor"] == "KubernetesExecutor"
    pod = arguments["executor_config"]["pod_override"]
    assert pod.spec.node_selector == {"accelerator": "nvidia"}
    assert pod.spec.tolerations[0].key == "nvidia.com/gpu"
    assert pod.spec.containers[0].resources.limits == {"nvidia.com/gpu": "1"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gpus: {queue: a}", "unknown kind or stage 'gpus'; known: analyze_bias, augment, complete_features, cpu, "),
        ("gpu: {que: a}", "gpu has 'que'; accepted: queue, pool, executor, pod"),
        ("gpu: {queue: 3}", r"gpu\.queue must be a str, got 3"),
        ("gpu: fast", "gpu must map some of queue, pool, executor, pod to values, got 'fast'"),
        ("- gpu", r"must map kinds of worker \(cpu, gpu\) or stages to placements, got list"),
        ("gpu: {", "is not YAML"),
        ("gpu: {pod: x}\ncpu: {pool: [1]}", r"gpu\.pod must be a dict, got 'x'; cpu\.pool must be a str, got \[1\]"),
    ],
)
def test_a_wrong_file_is_told_with_all_that_is_wrong(placements: Path, text: str, told: str) -> None:
    placements.write_text(text)
    with pytest.raises(ValueError, match=told) as caught:
        read_placements(GRAPH)
    assert str(caught.value).startswith(str(placements))


def test_a_file_that_is_not_there_is_told(placements: Path) -> None:
    with pytest.raises(ValueError, match=f"^COUNTERWEIGHT_PLACEMENT: {placements}: No such file"):
        read_placements(GRAPH)


@pytest.mark.parametrize("path", sorted((ROOT / "docker" / "placement").glob("*.yaml")), ids=lambda path: path.stem)
def test_our_own_files_place_every_stage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_PLACEMENT", str(path))
    placed = read_placements(GRAPH)
    assert any(placement.arguments() for placement in placed.values())
