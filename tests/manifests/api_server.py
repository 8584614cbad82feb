"""An API server of our own: etcd and kube-apiserver on loopback, with the schemas of the extensions, and nothing else.

No controllers and no nodes: it takes objects, checks them as a cluster would, and runs nothing.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.fixtures.network import unused_port
from tests.fixtures.servers import running
from tests.manifests.objects import Object

KUBECTL_SECONDS = 120


@dataclass(frozen=True)
class ApiServer:
    """How to speak to it. `options` of kubectl say where it is; `ours`: nobody else has anything there."""

    kubectl: str
    options: tuple[str, ...]
    ours: bool

    def ask(self, *arguments: str, objects: list[Object] | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl; `objects` are its standard input."""
        return subprocess.run(
            [self.kubectl, *self.options, *arguments],
            input=yaml.safe_dump_all(objects) if objects is not None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=KUBECTL_SECONDS,
        )

    def apply(self, objects: list[Object], *options: str) -> subprocess.CompletedProcess[str]:
        """Apply objects, unknown fields being errors."""
        return self.ask("apply", "--validate=strict", *options, "-f", "-", objects=objects)


@contextlib.contextmanager
def api_server(programs: Path, folder: Path) -> Iterator[ApiServer]:
    """A server that lives as long as the context. `programs` is what `build_server` made."""
    ports = [unused_port() for _ in range(3)]
    client, peer = (f"http://127.0.0.1:{port}" for port in ports[:2])
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    options = ("--kubeconfig", str(_kubeconfig(folder, ports[2], token)))
    server = ApiServer(str(programs / "kubectl"), options, ours=True)
    etcd = [str(programs / "etcd"), "--data-dir", str(folder / "etcd"), "--unsafe-no-fsync"]
    etcd += ["--listen-client-urls", client, "--advertise-client-urls", client]
    etcd += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    with (
        running(etcd, folder / "etcd.log", lambda: True),
        running(_command(programs, folder, client, ports[2]), folder / "api.log", lambda: _ready(server)),
    ):
        for schema in sorted((programs / "extensions").iterdir()):
            server.ask("apply", "--server-side", "-f", str(schema)).check_returncode()
        server.ask("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s").check_returncode()
        yield server


def _command(programs: Path, folder: Path, etcd: str, port: int) -> list[str]:
    key = folder / "accounts.key"
    generated = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, check=True).stdout
    key.write_bytes(generated)
    options = {
        "etcd-servers": etcd,
        "cert-dir": folder / "certificates",
        "bind-address": "127.0.0.1",
        "secure-port": port,
        "service-cluster-ip-range": "10.0.0.0/24",
        "service-account-issuer": "https://kubernetes.default",
        "service-account-key-file": key,
        "service-account-signing-key-file": key,
        "token-auth-file": folder / "tokens.csv",
        "authorization-mode": "RBAC",
    }
    return [str(programs / "kube-apiserver"), *(f"--{name}={value}" for name, value in options.items())]


def _kubeconfig(folder: Path, port: int, token: str) -> Path:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "own", "cluster": {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "own", "context": {"cluster": "own", "user": "admin"}}],
        "current-context": "own",
    }
    path.write_text(yaml.safe_dump(content))
    return path


def _ready(server: ApiServer) -> bool:
    return server.ask("get", "--raw", "/readyz").returncode == 0
