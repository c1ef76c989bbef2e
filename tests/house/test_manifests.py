"""Makes sure that what is deployed is what was meant: every overlay rendered, validated, and held to the code.

Rendering wants `kubectl` on PATH; the schemas come with `make k8s`. Without either, what needs it is skipped.
"""

import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import yaml

from mesh.callers import KeyRing
from mesh.health import LIVENESS
from mesh.settings import load, seconds, settings_of

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "deploy" / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir() if path.is_dir())
SERVICES = ("ingest", "profile", "trigger", "throttle", "delivery")
WITH_DATABASE = ("profile", "trigger", "throttle", "delivery")
# The oldest Kubernetes that we say runs it.
KUBERNETES = "1.32"
# Who calls whom, as ARCHITECTURE.md draws it.
ARROWS = {
    ("trigger", "profile"),
    ("trigger", "throttle"),
    ("trigger", "delivery"),
    ("profile", "ingest"),
    ("delivery", "profile"),
    ("delivery", "throttle"),
    ("delivery", "ingest"),
}

Manifest = dict[str, Any]

every_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
every_service = pytest.mark.parametrize("service", SERVICES)


@cache
def render(overlay: str) -> list[Manifest]:
    """Return every resource of the overlay as Kubernetes would get it."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on PATH: overlays are not rendered, files are still validated")
    command = [kubectl, "kustomize", str(K8S / "overlays" / overlay)]
    answer = run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return list(yaml.safe_load_all(answer.stdout))


def pick(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the one resource of this kind and name."""
    [found] = [one for one in manifests if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield name and spec of every pod that will run."""
    for one in manifests:
        if one["kind"] in {"Deployment", "Job"}:
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def told(manifests: list[Manifest], pod: Manifest) -> dict[str, str]:
    """Return the environment of a pod's container."""
    [container] = pod["containers"]
    settings: dict[str, str] = {}
    for source in container["envFrom"]:
        settings |= pick(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    return settings


def files_of(pod: Manifest) -> set[str]:
    """Return the path of every secret that the pod finds."""
    return {
        f"/secrets/{item['path']}"
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source["secret"]["items"]
    }


def config_of(service: str) -> Any:
    """Return the class of the service's settings."""
    return importlib.import_module(f"services.{service}.config").Config


def whole(path: Path) -> bool:
    """Say whether a file holds resources as they are, rather than instructions to kustomize."""
    return path.suffix == ".yaml" and path.name != "kustomization.yaml"


@pytest.mark.parametrize(
    "path",
    sorted(filter(whole, K8S.rglob("*.yaml"))),
    ids=lambda path: str(path.relative_to(K8S)),
)
def test_a_file_holds_what_kubernetes_takes(path: Path) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="comes with `make k8s`")

    for manifest in yaml.safe_load_all(path.read_text()):
        schemas.validate(manifest, KUBERNETES, strict=True)


@every_overlay
def test_an_overlay_renders_to_what_kubernetes_takes(overlay: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="comes with `make k8s`")

    for manifest in render(overlay):
        schemas.validate(manifest, KUBERNETES, strict=True)


def test_the_dockerfile_is_clean() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    if not hadolint.exists():
        pytest.skip("hadolint comes with `make k8s`")

    answer = run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)

    assert answer.returncode == 0, answer.stdout + answer.stderr


@every_overlay
@every_service
def test_a_service_has_all_that_a_service_needs(overlay: str, service: str) -> None:
    manifests = render(overlay)
    name = f"beckon-{service}"

    deployment = pick(manifests, "Deployment", name)
    kinds = {one["kind"] for one in manifests if one["metadata"]["name"] == name}

    assert kinds >= {"Deployment", "Service", "PodDisruptionBudget", "ServiceAccount"}
    assert kinds >= {"NetworkPolicy"}
    [server] = deployment["spec"]["template"]["spec"]["containers"]
    assert server["command"] == ["python", "-m", f"services.{service}"]
    assert ":" in server["image"], "an image without a tag is whatever was last"
    assert pick(manifests, "Service", name)["spec"]["clusterIP"] == "None"


@every_overlay
@every_service
def test_a_service_starts_with_what_it_is_told(overlay: str, service: str, tmp_path: Path) -> None:
    manifests = render(overlay)
    pod = pick(manifests, "Deployment", f"beckon-{service}")["spec"]["template"]["spec"]
    secret = tmp_path / "secret"
    secret.write_text("redis://anything\n")

    settings = told(manifests, pod)
    missing = {path for path in settings.values() if path.startswith("/secrets/")} - files_of(pod)
    here = {env: str(secret) if env.endswith("_FILE") else text for env, text in settings.items()}
    config = load(config_of(service), here)

    assert missing == set()
    assert config.server.address.endswith(":50051")
    assert config.server.metrics_address.endswith(":50151")


@every_overlay
@every_service
def test_a_service_is_told_nothing_that_it_does_not_know(overlay: str, service: str) -> None:
    manifests = render(overlay)
    pod = pick(manifests, "Deployment", f"beckon-{service}")["spec"]["template"]["spec"]

    known: set[str] = set()
    for one in settings_of(config_of(service)):
        known |= {one.env, f"{one.env}_FILE"} if one.secret else {one.env}

    assert set(told(manifests, pod)) - known == set()


@every_overlay
@every_service
def test_the_end_of_a_pod_is_later_than_the_end_of_its_process(overlay: str, service: str) -> None:
    manifests = render(overlay)
    pod = pick(manifests, "Deployment", f"beckon-{service}")["spec"]["template"]["spec"]
    settings = told(manifests, pod)

    # Calls get the grace, then workers get it too.
    needed = seconds(settings["BECKON_DRAIN_SECONDS"]) + 2 * seconds(
        settings["BECKON_GRACE_SECONDS"]
    )

    assert timedelta(seconds=pod["terminationGracePeriodSeconds"]) > needed


@every_overlay
@every_service
def test_probes_ask_what_the_health_service_answers(overlay: str, service: str) -> None:
    pod = pick(render(overlay), "Deployment", f"beckon-{service}")["spec"]["template"]["spec"]
    [server] = pod["containers"]

    assert server["startupProbe"]["grpc"] == {"port": 50051, "service": LIVENESS}
    assert server["livenessProbe"]["grpc"] == {"port": 50051, "service": LIVENESS}
    # A dependency that is away takes a pod out of rotation; it is no reason to restart it.
    assert server["readinessProbe"]["grpc"] == {"port": 50051}


@every_overlay
def test_every_pod_is_restricted_and_bounded(overlay: str) -> None:
    for name, pod in pods(render(overlay)):
        context = pod["securityContext"]
        [container] = pod["containers"]

        assert pod["automountServiceAccountToken"] is False, name
        assert context["runAsNonRoot"] is True, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }, name
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name


@every_overlay
def test_a_migration_runs_for_each_database_and_never_gets_calls(overlay: str) -> None:
    manifests = render(overlay)
    for service in WITH_DATABASE:
        job = pick(manifests, "Job", f"beckon-migrate-{service}")["spec"]["template"]
        selector = pick(manifests, "Service", f"beckon-{service}")["spec"]["selector"]

        [container] = job["spec"]["containers"]
        settings = told(manifests, job["spec"])
        assert container["command"] == ["beckon", "migrate", service]
        assert settings[f"{service.upper()}_DATABASE_URL_FILE"] in files_of(job["spec"])
        assert not selector.items() <= job["metadata"]["labels"].items()


def allowed(manifests: list[Manifest], direction: str, end: str) -> set[tuple[str, str]]:
    """Return who may speak to whom by the policies' `ingress` or `egress` rules."""
    found: set[tuple[str, str]] = set()
    for policy in (one["spec"] for one in manifests if one["kind"] == "NetworkPolicy"):
        owner = policy["podSelector"]["matchLabels"].get("app.kubernetes.io/name")
        for rule in policy.get(direction, ()):
            for peer in rule.get(end, ()):
                labels = peer.get("podSelector", {}).get("matchLabels", {})
                other = labels.get("app.kubernetes.io/name")
                if owner and other:
                    found.add((owner, other) if end == "to" else (other, owner))
    return found


@every_overlay
def test_the_network_lets_pass_the_arrows_of_the_architecture_and_no_other(overlay: str) -> None:
    manifests = render(overlay)

    targets = {
        (service, match[1].lower())
        for service in SERVICES
        for one in settings_of(config_of(service))
        if (match := re.fullmatch(rf"{service.upper()}_([A-Z]+)_TARGET", one.env))
    }

    assert targets == ARROWS
    assert allowed(manifests, "egress", "to") == ARROWS
    assert allowed(manifests, "ingress", "from") == ARROWS


@every_overlay
def test_a_policy_holds_every_pod_of_ours(overlay: str) -> None:
    manifests = render(overlay)
    selector = pick(manifests, "NetworkPolicy", "beckon")["spec"]["podSelector"]["matchLabels"]

    for one in manifests:
        if one["kind"] in {"Deployment", "Job"} and one["metadata"]["name"].startswith("beckon"):
            labels = one["spec"]["template"]["metadata"]["labels"]
            assert selector.items() <= labels.items(), one["metadata"]["name"]


def test_development_lets_each_service_call_whom_it_calls() -> None:
    keys = KeyRing.load(K8S / "overlays" / "development" / "keyring.json")

    for name in ("trigger", "delivery", "profile", "admin"):
        caller = keys.find(f"development-{name}")
        assert caller is not None, name
        assert caller.name == name
        assert caller.enters_all
