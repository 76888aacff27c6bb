"""The pods that a Kubernetes cluster would be asked for, against its API's own schema, nothing unknown allowed."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.dvc_graph import read_graph
from plugins.placement import read_placements
from tests.docker.files import COMPOSE_TEXT, DOCKER, KNOWN, LOCKED, PROJECT, ROOT, run_tool

HELM = DOCKER / "helm"
TEMPLATE_TEXT = (HELM / "pod-template.yaml").read_text(encoding="utf-8")
VALUES_TEXT = (HELM / "values.yaml").read_text(encoding="utf-8")
VALUES: dict[str, Any] = yaml.safe_load(VALUES_TEXT)
OVERLAY: dict[str, Any] = yaml.safe_load((HELM / "kubernetes.yaml").read_text(encoding="utf-8"))
SETS: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in VALUES["workers"]["celery"]["sets"]}
SHARED = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "filled-in", VALUES["extraConfigMaps"]["counterweight"]["data"]))
GRAPH = read_graph(ROOT)


def rendered() -> dict[str, Any]:
    """The pod template with a name for each expression that Helm fills in."""
    content: dict[str, Any] = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "filled-in", TEMPLATE_TEXT))
    return content


def problem(pod: Mapping[str, Any], tmp_path: Path) -> str:
    """What the API's schema has against a pod; nothing where it is valid."""
    path = tmp_path / "pod.yaml"
    path.write_text(yaml.safe_dump(dict(pod)), encoding="utf-8")
    done = run_tool("kubernetes-validate", "--strict", "--quiet", path)
    return done.stdout + done.stderr if done.returncode else ""


def place(monkeypatch: pytest.MonkeyPatch, path: str) -> dict[str, Any]:
    """Placements of all stages by a file as it is called in the image."""
    monkeypatch.setenv("COUNTERWEIGHT_PLACEMENT", str(ROOT / path.removeprefix("/opt/counterweight/")))
    return dict(read_placements(GRAPH))


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The pod that KubernetesExecutor asks for, by stage: the template, and over it what the placement has."""
    ask = """import json, sys
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes.client import ApiClient
from plugins.dvc_graph import read_graph
from plugins.placement import read_placements
template, pods = json.load(sys.stdin), {}
for name, placement in read_placements(read_graph()).items():
    override = placement.arguments().get("executor_config", {}).get("pod_override")
    pod = PodGenerator.reconcile_pods(PodGenerator.deserialize_model_dict(template), override)
    pods[name] = ApiClient().sanitize_for_serialization(pod)
print(json.dumps(pods))
"""
    (entry,) = OVERLAY["env"]
    assert entry["name"] == "COUNTERWEIGHT_PLACEMENT"
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "COUNTERWEIGHT_PLACEMENT": entry["value"].removeprefix("/opt/counterweight/"),
        "PYTHONPATH": str(ROOT),
    }
    given = json.dumps(rendered())
    command = [sys.executable, "-c", ask]
    done = subprocess.run(command, input=given, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    made: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    assert set(made) == set(GRAPH)
    return made


def test_the_pod_template_is_valid(tmp_path: Path) -> None:
    assert problem(rendered(), tmp_path) == ""


def test_the_pod_of_every_stage_is_valid(pods: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    distinct = {json.dumps(pod, sort_keys=True) for pod in pods.values()}
    assert len(distinct) == 2, "one for stages on a CPU, one for those on a GPU"
    assert [problem(json.loads(pod), tmp_path) for pod in distinct] == ["", ""]


def test_a_gpu_stage_gets_a_gpu_and_cuda_and_a_cpu_stage_neither(pods: dict[str, dict[str, Any]]) -> None:
    for name, pod in pods.items():
        (container,) = pod["spec"]["containers"]
        on_gpu = GRAPH[name].queue == "gpu"
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == on_gpu
        assert ("worker-gpu:" in container["image"]) == on_gpu
        assert bool(pod["spec"].get("tolerations")) == on_gpu


def test_a_pod_override_takes_nothing_of_the_template_away(pods: dict[str, dict[str, Any]]) -> None:
    for pod in pods.values():
        (container,) = pod["spec"]["containers"]
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["envFrom"] == rendered()["spec"]["containers"][0]["envFrom"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {"config", "logs", "scratch"}


def test_the_template_names_no_executor_of_its_own() -> None:
    # The usual LocalExecutor would be one that placement's tasks don't name: in the pod, the DAG file would not import.
    names = {entry["name"] for entry in rendered()["spec"]["containers"][0]["env"]}
    assert names == {"COUNTERWEIGHT_PLACEMENT"}


@pytest.mark.parametrize("name", SETS)
def test_a_worker_set_makes_a_valid_pod(name: str, tmp_path: Path) -> None:
    worker, shared = SETS[name], VALUES["workers"]["celery"]
    container = {
        "name": "worker",
        "image": ":".join(VALUES["images"]["airflow"].values()),
        "resources": worker["resources"],
        "env": worker.get("env", []),
        "envFrom": yaml.safe_load(VALUES["extraEnvFrom"]),
        "volumeMounts": shared["extraVolumeMounts"],
    }
    spec = {"containers": [container], "volumes": shared["extraVolumes"], "tolerations": worker.get("tolerations", [])}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    assert problem(pod, tmp_path) == ""
    assert problem(pod | {"spec": spec | {"toleration": []}}, tmp_path), "an unknown word must not pass"


def test_every_queue_has_a_worker_set_and_only_gpu_s_takes_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = VALUES["env"]
    queues = {placement.queue for placement in place(monkeypatch, entry["value"]).values()}
    assert {worker["queue"] for worker in SETS.values()} == queues | {SHARED["AIRFLOW__OPERATORS__DEFAULT_QUEUE"]}
    with_gpu = {name for name, worker in SETS.items() if "nvidia.com/gpu" in worker["resources"]["limits"]}
    tolerant = {name for name, worker in SETS.items() if worker.get("tolerations")}
    assert with_gpu == tolerant == {"gpu"}


def test_executors_are_those_that_the_placements_name(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = OVERLAY["env"]
    assert {placement.executor for placement in place(monkeypatch, entry["value"]).values()} == {OVERLAY["executor"]}
    (entry,) = VALUES["env"]
    assert {placement.executor for placement in place(monkeypatch, entry["value"]).values()} == {None}


def test_versions_are_the_project_s_and_the_lock_s() -> None:
    placements = "".join(path.read_text(encoding="utf-8") for path in (DOCKER / "placement").glob("*.yaml"))
    images = re.findall(r"counterweight/[\w-]+:([\w.]+)", TEMPLATE_TEXT + placements)
    assert {*images, VALUES["images"]["airflow"]["tag"]} == {PROJECT["version"]}
    assert VALUES["airflowVersion"] == LOCKED["apache-airflow"]


def test_what_containers_find_in_their_environment_is_what_compose_gives_them() -> None:
    ours = {name for name in SHARED if name.startswith("COUNTERWEIGHT_")}
    assert ours <= KNOWN
    assert set(SHARED) <= set(re.findall(r"^  (\w+):", COMPOSE_TEXT, re.MULTILINE))


def test_secrets_are_named_and_not_written() -> None:
    named = {"fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName"}
    assert {key for key in VALUES if "ecret" in key} == named
    assert not re.search(r"(?i)(password|token|secret|_key): *[^&\s{]", VALUES_TEXT.partition("\n\n")[2])
    sources = rendered()["spec"]["containers"][0]["envFrom"]
    assert sources == yaml.safe_load(VALUES["extraEnvFrom"])
