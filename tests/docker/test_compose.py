"""compose.yaml, without bringing it up: secrets, what is reachable, who serves which queue, who waits for whom."""

import re
from typing import Any

import pytest

from plugins.dvc_graph import read_graph
from plugins.placement import read_placements
from tests.docker.files import COMPOSE, COMPOSE_TEXT, DOCKER, KNOWN, ROOT, SERVICES, default, run_tool, stages

IN_IMAGE = "/opt/counterweight/"
STACK = (DOCKER / "stack.sh").read_text(encoding="utf-8")
WRITTEN = re.findall(r"^([A-Z_0-9]+)=\$", STACK, re.MULTILINE)
ONE_SHOT = {"init"}

every_service = pytest.mark.parametrize("name", SERVICES)
every_worker = pytest.mark.parametrize("name", [name for name in SERVICES if name.startswith("worker-")])


def queues_of(service: dict[str, Any], words: str | None = None) -> set[str]:
    """Queues that a worker serves, or would with `words` for the variable that names them."""
    given = service["command"][service["command"].index("--queues") + 1]
    return set((words or default(given)).split(","))


def placed_queues(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every queue that a task of complete_dataset may be sent to."""
    environment = SERVICES["scheduler"]["environment"]
    path = environment["COUNTERWEIGHT_PLACEMENT"]
    monkeypatch.setenv("COUNTERWEIGHT_PLACEMENT", str(ROOT / path.removeprefix(IN_IMAGE)))
    queues = {str(placement.queue) for placement in read_placements(read_graph(ROOT)).values()}
    assert queues == {"cpu", "gpu"}
    return queues | {environment["AIRFLOW__OPERATORS__DEFAULT_QUEUE"]}


def test_it_is_what_compose_understands() -> None:
    done = run_tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml")
    assert done.returncode == 0, done.stdout


# ------------------------------------------------------------ secrets


@every_service
def test_no_secret_stands_in_the_file(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        text = str(value)
        if re.search(r"PASSWORD|SECRET|TOKEN|FERNET|ACCESS_KEY|REDISCLI_AUTH", key):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", text), f"{key} must come from the environment"
        for secret in re.findall(r"://[^/\s]*:([^@\s]*)@", text) + re.findall(r'"(?:login|password)": "([^"]*)"', text):
            assert re.fullmatch(r"\$\{\w+(:\?[^}]+|:-)\}", secret), f"{key} must take {secret!r} from the environment"


def test_every_secret_is_one_that_make_up_writes() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT))
    assert required == set(WRITTEN) - {"COMPOSE_PROFILES", "CPU_WORKER_QUEUES"}


def test_the_file_of_secrets_is_in_neither_git_nor_an_image() -> None:
    ignored = run_tool("git", "-C", ROOT, "check-ignore", "docker/.env", "docker/.env.new")
    assert ignored.stdout.split() == ["docker/.env", "docker/.env.new"]


@every_worker
def test_a_worker_does_not_know_the_admin_s_password(name: str) -> None:
    assert "ADMIN_PASSWORD" not in str(SERVICES[name])


# ------------------------------------------------------------ what is reachable, and what is shared


def test_what_is_published_is_published_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"api-server", "s3"}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)


def test_services_share_no_volume_but_the_images_that_they_only_read() -> None:
    users: dict[str, list[str]] = {}
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            users.setdefault(default(volume).partition(":")[0], []).append(f"{name}{volume[-3:]}")
    assert set(users) == set(COMPOSE["volumes"])
    shared = {volume: names for volume, names in users.items() if len(names) > 1}
    assert shared == {"images": ["worker-cpu:ro", "worker-gpu:ro"]}


# ------------------------------------------------------------ services


@every_service
def test_a_service_is_pinned_started_again_and_asked_whether_it_is_healthy(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert service["build"]["target"] in stages()
        assert (DOCKER / service["build"]["context"]).resolve() == ROOT
    else:
        assert re.fullmatch(r"[\w/.-]+:\d+\.\d+[\w.-]*", service["image"])
    assert service["restart"] == ("no" if name in ONE_SHOT else "always")
    assert ("test" in service["healthcheck"]) == (name not in ONE_SHOT)
    assert service["security_opt"] == ["no-new-privileges:true"]


@every_service
def test_a_service_waits_only_for_what_can_come(name: str) -> None:
    for other, how in dict(SERVICES[name].get("depends_on", {})).items():
        ends = other in ONE_SHOT
        assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")
        assert "profiles" not in SERVICES[other]


@every_service
def test_a_health_check_names_a_part_that_health_py_knows(name: str) -> None:
    test = SERVICES[name]["healthcheck"].get("test", [])
    if "docker/health.py" in test:
        part = "worker" if name.startswith("worker-") else name
        assert test == ["CMD", "python", "docker/health.py", part]


@every_service
def test_the_code_knows_our_variables(name: str) -> None:
    ours = {key for key in SERVICES[name].get("environment", {}) if key.startswith("COUNTERWEIGHT_")}
    assert ours <= KNOWN
    if name.startswith("worker-"):
        assert ours >= {"COUNTERWEIGHT_GIT", "COUNTERWEIGHT_REMOTE", "COUNTERWEIGHT_RUNS", "COUNTERWEIGHT_PLACEMENT"}


# ------------------------------------------------------------ queues


def test_without_a_gpu_every_queue_has_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    assert queues_of(SERVICES["worker-cpu"]) >= placed_queues(monkeypatch)


def test_with_a_gpu_every_queue_has_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = re.search(r"profile=gpu queues=(\S+);", STACK)
    assert cpu is not None
    on_cpu, on_gpu = queues_of(SERVICES["worker-cpu"], cpu[1]), queues_of(SERVICES["worker-gpu"])
    assert not on_cpu & on_gpu
    assert on_cpu | on_gpu >= placed_queues(monkeypatch)


def test_only_the_worker_of_the_profile_gpu_reserves_gpus() -> None:
    reserving = {name for name, service in SERVICES.items() if "nvidia" in str(service.get("deploy"))}
    assert reserving == {name for name, service in SERVICES.items() if service.get("profiles") == ["gpu"]}
    assert reserving == {"worker-gpu"}
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
