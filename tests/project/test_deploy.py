"""deploy/: each file passes its own program's check, and its limits add up."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from unhaze.cli.options import GIVEN
from unhaze.cli.serve import Given, serve

yaml = pytest.importorskip("yaml")

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVER_MB = 400  # that the process itself takes
BINARY = {"Mi": 2**20 / 1e6, "Gi": 2**30 / 1e6, "M": 2**20 / 1e6}  # systemd's M is one as well


def needs(program: str) -> pytest.MarkDecorator:
    found = shutil.which(program)
    return pytest.mark.skipif(found is None, reason=f"no {program} here")


def check(*words: str | Path) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def megabytes(text: str) -> float:
    """3Gi -> 3221."""
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()
    return int(number) * BINARY[unit]


def given(words: list[str]) -> Given:
    """What `unhaze serve` makes of a command line."""
    assert Path(words[0]).name == "unhaze" and words[1] == "serve"
    return Given(**serve.make_context("serve", words[2:]).meta[GIVEN])


def needed_mb(command: Given) -> float:
    """Of memory: processes for photos, the one for videos, and the server."""
    return (command.workers + 1) * command.worker_megabytes + SERVER_MB


def kubernetes() -> dict[str, dict]:
    text = (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def faults(kind: str, manifest: dict) -> list[str]:
    """Where it is not what Kubernetes' own description of its API says: place and reason each.

    The models of the client library for Python are made from that description.
    """
    client = pytest.importorskip("kubernetes").client
    try:
        getattr(client, f"V1{kind}").model_validate(manifest, extra="forbid")
    except ValueError as error:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return []


def test_the_manifest_is_what_kubernetes_describes():
    assert {
        kind: faults(kind, manifest) for kind, manifest in kubernetes().items()
    } == dict.fromkeys(kubernetes(), [])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"livenessProb": {}}, "livenessProb: Extra inputs are not permitted"),
        (
            {"ports": [{"containerPort": "eighty"}]},
            "ports.0.containerPort: Input should be a valid",
        ),
        (
            {"readinessProbe": {"httpGet": {"path": "/"}}},
            "readinessProbe.httpGet.port: Field required",
        ),
    ],
)
def test_the_check_of_the_manifest_finds(change, fault):
    deployment = kubernetes()["Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0] |= change
    [found] = faults("Deployment", deployment)
    assert f"spec.template.spec.containers.0.{fault}" in found


@needs("nginx")
def test_nginx_takes_its_file(tmp_path):
    head = f"pid {tmp_path}/pid; error_log {tmp_path}/error; events {{}}"
    (tmp_path / "all.conf").write_text(f"{head} http {{ include {DEPLOY}/nginx.conf; }}")
    check("nginx", "-t", "-p", tmp_path, "-c", tmp_path / "all.conf")


@needs("caddy")
def test_caddy_takes_its_file():
    check("caddy", "validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile")


@needs("systemd-analyze")
def test_systemd_takes_its_file(tmp_path):
    text = (DEPLOY / "unhaze.service").read_text(encoding="utf-8")
    (tmp_path / "unhaze.service").write_text(text.replace("/opt/unhaze/bin/unhaze", "/bin/true"))
    check("systemd-analyze", "verify", tmp_path / "unhaze.service")


def test_the_unit_adds_up():
    text = (DEPLOY / "unhaze.service").read_text(encoding="utf-8")
    said = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    command = given(said["ExecStart"].split())
    assert needed_mb(command) <= megabytes(said["MemoryMax"])
    assert command.behind_proxy and command.token_file.endswith("/token")
    assert int(said["TimeoutStopSec"]) >= command.stop_seconds + 15
    assert int(said["LimitNOFILE"]) > command.max_connections + 384


def test_the_pods_add_up():
    pod = kubernetes()["Deployment"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    command = given(container["args"])
    limits = container["resources"]["limits"]
    assert needed_mb(command) <= megabytes(limits["memory"])
    [tmp] = [each for each in pod["volumes"] if each["name"] == "tmp"]
    room = megabytes(tmp["emptyDir"]["sizeLimit"])
    uploads = (command.workers + command.queue + 3) * command.max_megabytes
    assert command.keep_megabytes + uploads <= room <= megabytes(limits["ephemeral-storage"])
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= wait + command.stop_seconds + 15
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]


def test_the_parts_in_the_cluster_fit_together():
    parts = kubernetes()
    assert set(parts) == {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    pod = parts["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"]
    selectors = [
        parts["Deployment"]["spec"]["selector"]["matchLabels"],
        parts["Service"]["spec"]["selector"],
        parts["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        parts["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(each == labels for each in selectors)
    [container] = pod["spec"]["containers"]
    probes = {
        kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("liveness", "readiness")
    }
    assert probes == {"liveness": "/healthz", "readiness": "/readyz"}
    mounts = {each["name"] for each in container["volumeMounts"]}
    assert mounts == {each["name"] for each in pod["spec"]["volumes"]}
    assert container["ports"][0]["name"] == parts["Service"]["spec"]["ports"][0]["targetPort"]
