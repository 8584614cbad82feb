"""Builds a real API server, its etcd and a kubectl from their Go modules, and collects the schemas of the extensions.

`make test-kubernetes` runs it; everything goes to the folder it is given and is built once. The versions are pinned
here; Go checks what it downloads against its checksum database.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

KUBERNETES = "1.36.3"
ETCD = "3.6.5"
PROGRAMS = ("kube-apiserver", "kubectl")
EXTENSIONS = {
    "github.com/kedacore/keda/v2@v2.21.0": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
    "sigs.k8s.io/gateway-api@v1.4.0": ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
}


def build_kubernetes(folder: Path) -> None:
    """kube-apiserver and kubectl. Kubernetes cannot be installed by `go install`: it replaces modules by folders."""
    source = folder / "kubernetes"
    source.mkdir(exist_ok=True)
    asked = (download(f"k8s.io/kubernetes@v{KUBERNETES}") / "go.mod").read_text()
    staged = re.findall(r"^\s+(k8s\.io/\S+) => \./staging/", asked, re.MULTILINE)
    published = f"v0.{KUBERNETES.partition('.')[2]}"  # 1.36.3 is v0.36.3 of each part
    lines = ["module apiserver.local", f"require k8s.io/kubernetes v{KUBERNETES}"]
    lines += [f"replace {name} => {name} {published}" for name in staged]
    (source / "go.mod").write_text("\n".join(lines) + "\n")
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in PROGRAMS]
    imports = "\n".join(f'import _ "{package}"' for package in packages)
    (source / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\n{imports}\n")
    go(source, "mod", "tidy", "-e")  # -e: tests of others import what is not published
    version = "k8s.io/component-base/version"
    major, minor, _ = KUBERNETES.split(".")
    known = f"-X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    go(source, "build", "-ldflags", f"-s -w {known}", "-o", f"{folder}/", *packages)


def build_etcd(folder: Path) -> None:
    source = folder / "etcd-source"
    source.mkdir(exist_ok=True)
    (source / "go.mod").write_text(f"module etcd.local\nrequire go.etcd.io/etcd/server/v3 v{ETCD}\n")
    (source / "tools.go").write_text('//go:build tools\n\npackage tools\n\nimport _ "go.etcd.io/etcd/server/v3"\n')
    go(source, "mod", "tidy", "-e")
    go(source, "build", "-ldflags", "-s -w", "-o", str(folder / "etcd"), "go.etcd.io/etcd/server/v3")


def collect_extensions(folder: Path) -> None:
    """CustomResourceDefinitions, as their projects publish them."""
    schemas = folder / "extensions"
    schemas.mkdir(exist_ok=True)
    for module, paths in EXTENSIONS.items():
        source = download(module)
        for path in paths:
            shutil.copyfile(source / path, schemas / Path(path).name)


def download(module: str) -> Path:
    """The folder of a module's source."""
    shown: dict[str, Any] = json.loads(go(Path.cwd(), "mod", "download", "-json", module))
    return Path(shown["Dir"])


def go(folder: Path, *arguments: str) -> str:
    """Run the Go tool. Raises CalledProcessError; what it says goes to stderr."""
    return subprocess.run(["go", *arguments], cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / f"built-{KUBERNETES}-{ETCD}"
    if not done.exists():
        build_etcd(folder)
        build_kubernetes(folder)
        collect_extensions(folder)
        done.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
