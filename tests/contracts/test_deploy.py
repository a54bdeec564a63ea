"""Compose file and manifests: valid by Kubernetes' schemas, and in step with settings, image and each other."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from store.queue import JOB_QUEUES, LIGHT
from store.settings import Settings
from tests.conftest import HOUSE, variables

KUBERNETES = HOUSE / "deploy" / "kubernetes"
KEDA = json.loads(Path(__file__).with_name("keda.json").read_text())
VERSIONS = ("1.29", "1.37")  # of Kubernetes: the oldest that is thought of, the newest with a schema
METRICS_TOKEN = "SECATEUR_METRICS_TOKEN"
SETTINGS = variables()
COMPOSE: dict[str, Any] = yaml.safe_load((HOUSE / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {"api", "worker", "worker-light", "worker-gpu"}
ASIDE = 512 * 2**20  # what a worker needs beside its job


def resources() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(KUBERNETES.rglob("*.yaml")):
        if path.name != "kustomization.yaml":
            for resource in yaml.safe_load_all(path.read_text()):
                yield str(path.relative_to(KUBERNETES)), resource


RESOURCES = list(resources())
IDS = [f"{path}-{r['kind']}-{r['metadata']['name']}" for path, r in RESOURCES]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {r["metadata"]["name"]: r for _, r in RESOURCES if r["kind"] == kind}


DEPLOYMENTS = of_kind("Deployment")
PODS = {name: d["spec"]["template"]["spec"] for name, d in DEPLOYMENTS.items()}
CONTAINERS = [(name, c) for name, pod in PODS.items() for c in pod["initContainers"] + pod["containers"]]


def check(resource: dict[str, Any]) -> None:
    if resource["apiVersion"].startswith("keda.sh/"):
        jsonschema.validate(resource["spec"], KEDA | {"$ref": f"#/$defs/{resource['kind']}"})
        return
    for version in VERSIONS:
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("resource", [r for _, r in RESOURCES], ids=IDS)
def test_every_manifest_is_valid(resource: dict[str, Any]):
    check(resource)


@pytest.mark.parametrize("kind", ["Deployment", "ScaledObject"])
def test_a_misspelt_field_is_found(kind: str):
    resource = next(iter(of_kind(kind).values()))
    with pytest.raises(jsonschema.ValidationError):
        check(resource | {"spec": resource["spec"] | {"replica": 1}})


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("kustomization.yaml")), ids=lambda p: p.parent.name)
def test_a_kustomization_lists_what_lies_beside_it(path: Path):
    listed = yaml.safe_load(path.read_text())
    named = {n for n in listed.get("resources", []) + listed.get("components", []) if n.startswith("..")}
    assert all((path.parent / n / "kustomization.yaml").exists() for n in named)
    beside = {p.name for p in path.parent.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(listed.get("resources", [])) - named == beside


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl to build a kustomization")
def test_overlays_build_into_valid_manifests(tmp_path: Path):
    """With every component at once."""
    components = sorted(str(p) for p in (KUBERNETES / "components").iterdir() if p.name not in ("keda", "outside"))
    whole = {"resources": [str(KUBERNETES / "gpu")], "components": components}
    relative = json.dumps(whole).replace(str(HOUSE), "house")
    (tmp_path / "kustomization.yaml").write_text(relative)
    shutil.copytree(KUBERNETES, tmp_path / "house" / "deploy" / "kubernetes")
    said = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=True).stdout
    built = list(yaml.safe_load_all(said))
    for resource in built:
        check(resource)
    assert {r["metadata"]["namespace"] for r in built} == {"secateur"}
    names = {(r["kind"], r["metadata"]["name"]) for r in built}
    assert ("Deployment", "secateur-worker-gpu") in names and ("Ingress", "secateur") in names
    assert not any("worker-jobs" in name or kind == "PersistentVolumeClaim" for kind, name in names)
    deployments = [r for r in built if r["kind"] == "Deployment"]
    assert all("emptyDir" in v for d in deployments for v in d["spec"]["template"]["spec"]["volumes"])
    assert [d["metadata"]["name"] for d in deployments if "replicas" in d["spec"]] == ["secateur-api"]


def test_settings_are_those_of_the_service(monkeypatch: pytest.MonkeyPatch):
    """They exist, and the service starts with them."""
    shared = of_kind("ConfigMap")["secateur"]["data"]
    secret = {"SECATEUR_DATABASE_URL": "postgresql+psycopg://u:p@h/d", "SECATEUR_BROKER_URL": "redis://h:6379/0"}
    for _, container in CONTAINERS:
        own = {e["name"]: e["value"] for e in container.get("env", [])}
        assert set(shared) | set(own) <= SETTINGS
        for name, value in (shared | secret | own).items():
            monkeypatch.setenv(name, value)
        assert Settings().auth
    for service in OURS:
        assert set(SERVICES[service]["environment"]) <= SETTINGS
    compose = {n: v for n, v in SERVICES["api"]["environment"].items() if v is not None}
    for name in ("SECATEUR_AUTH", "SECATEUR_HOST", "SECATEUR_PORT"):
        assert compose[name] == shared[name]


def test_image_port_and_commands_agree():
    dockerfile = (HOUSE / "Dockerfile").read_text()
    version = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]["version"]
    for service in OURS:
        assert SERVICES[service]["image"] == f"${{SECATEUR_IMAGE:-secateur:{version}}}"
    for folder in ("base", "gpu"):
        (image,) = yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text())["images"]
        assert (image["name"], image["newTag"]) == ("secateur", version)
    assert {c["image"] for _, c in CONTAINERS} == {"secateur"}
    (port,) = PODS["secateur-api"]["containers"][0]["ports"]
    (service,) = of_kind("Service")["secateur-api"]["spec"]["ports"]
    assert service["targetPort"] == port["name"]
    assert f"EXPOSE {port['containerPort']}\n" in dockerfile
    assert of_kind("ConfigMap")["secateur"]["data"]["SECATEUR_PORT"] == str(port["containerPort"])
    commands = {name: pod["containers"][0]["command"] for name, pod in PODS.items()}
    assert json.dumps(commands.pop("secateur-api")).replace("'", '"') in dockerfile
    for name, counterpart in (("jobs", "worker"), ("light", "worker-light"), ("gpu", "worker-gpu")):
        assert " ".join(commands[f"secateur-worker-{name}"]) == SERVICES[counterpart]["command"]
    served = {queue for c in commands.values() for queue in c[c.index("-Q") + 1].split(",")}
    assert served == {*JOB_QUEUES, LIGHT}


@pytest.mark.parametrize(("name", "container"), CONTAINERS, ids=[f"{n}-{c['name']}" for n, c in CONTAINERS])
def test_no_pod_can_do_more_than_it_must(name: str, container: dict[str, Any]):
    pod = PODS[name]
    user = re.search(r"^USER (\d+):(\d+)$", (HOUSE / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    expected = {"runAsNonRoot": True, "runAsUser": int(user[1]), "seccompProfile": {"type": "RuntimeDefault"}}
    assert expected.items() <= pod["securityContext"].items()
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert "memory" in container["resources"]["limits"]


def bytes_of(quantity: str) -> int:
    return int(quantity.removesuffix("Gi")) * 2**30


@pytest.mark.parametrize("name", sorted(set(PODS) - {"secateur-api"}))
def test_a_job_meets_its_own_limit_before_that_of_its_container(name: str):
    """The kernel may kill the worker instead of the job."""
    (container,) = PODS[name]["containers"]
    (limit,) = container["env"]
    assert int(limit["value"]) + ASIDE <= bytes_of(container["resources"]["limits"]["memory"])


@pytest.mark.parametrize("name", sorted(set(PODS) - {"secateur-api"}))
def test_a_stopped_worker_has_the_time_to_hand_back(name: str):
    assert PODS[name]["terminationGracePeriodSeconds"] == 45
    (container,) = PODS[name]["containers"]
    assert "lifecycle" not in container and "livenessProbe" not in container


def test_selectors_find_what_they_are_for():
    labels = {name: d["spec"]["template"]["metadata"]["labels"] for name, d in DEPLOYMENTS.items()}
    for name, deployment in DEPLOYMENTS.items():
        assert deployment["spec"]["selector"]["matchLabels"] == labels[name]
        assert of_kind("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"] == labels[name]
    assert of_kind("Service")["secateur-api"]["spec"]["selector"] == labels["secateur-api"]
    policies = of_kind("NetworkPolicy")
    assert policies["secateur-api"]["spec"]["podSelector"]["matchLabels"] == labels["secateur-api"]
    everyone = policies["secateur"]["spec"]
    assert everyone["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "secateur"}
    assert everyone["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in everyone
    assert {p["port"] for rule in everyone["egress"] for p in rule["ports"]} == {5432, 6379, 53}


def test_what_is_scaled_is_there_and_asks_this_service():
    namespace = yaml.safe_load((KUBERNETES / "base/kustomization.yaml").read_text())["namespace"]
    (authentication,) = of_kind("TriggerAuthentication").values()
    assert authentication["spec"]["secretTargetRef"][0]["key"] == METRICS_TOKEN
    assert set(of_kind("ScaledObject")) == set(DEPLOYMENTS) - {"secateur-api"}
    for name, scaled in of_kind("ScaledObject").items():
        spec = scaled["spec"]
        assert spec["scaleTargetRef"]["name"] == name
        down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] >= spec["cooldownPeriod"] >= 300
        queue = {"secateur-worker-light": LIGHT, "secateur-worker-gpu": "gpu"}.get(name, "cpu")
        for trigger in spec["triggers"]:
            assert trigger["metadata"]["url"] == f"http://secateur-api.{namespace}.svc/metrics"
            assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
        assert f'secateur_queue_depth{{queue="{queue}"}}' in [t["metadata"]["valueLocation"] for t in spec["triggers"]]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_container_can_do_more_than_it_must(name: str):
    service = SERVICES[name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["init"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped" and "max-size" in service["logging"]["options"]
    assert ("ports" in service) == (name == "api")
    if name not in OURS:
        assert service["user"] == name and service["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_the_page_names_every_variable_of_the_compose_file_and_no_other():
    page = (HOUSE / "docs/deploy.md").read_text()
    asked = set(re.findall(r"\$\{(\w+)", (HOUSE / "docker-compose.yml").read_text()))
    assert asked <= set(re.findall(r"`(SECATEUR_\w+)`", page))
    assert set(re.findall(r"SECATEUR_\w+", page)) <= asked | SETTINGS


def test_the_page_links_to_what_is_there():
    page = (HOUSE / "docs/deploy.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", page):
        assert target.startswith("http") or (HOUSE / "docs" / target).exists(), target
