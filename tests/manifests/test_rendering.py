"""What is committed under `rendered/` is what the overlays say, and the overlays use all there is."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.k8s.render import OVERLAYS, RENDERED, NoRendererError, overlays, render, renderer
from tests.manifests.objects import Manifests, parsed

TOP = OVERLAYS.parent


@pytest.fixture(scope="module")
def command() -> list[str]:
    try:
        return renderer()
    except NoRendererError as error:
        pytest.skip(str(error))


def used(kustomization: Path) -> set[Path]:
    """Folders that this one draws in, and what those draw in."""
    content = yaml.safe_load((kustomization / "kustomization.yaml").read_text())
    names = [name for key in ("resources", "components", "transformers") for name in content.get(key, [])]
    folders = {(kustomization / name).resolve() for name in names if (kustomization / name).is_dir()}
    return folders | {inner for folder in folders for inner in used(folder)}


@pytest.mark.parametrize("overlay", overlays())
def test_the_rendered_overlay_is_up_to_date(overlay: str, command: list[str]) -> None:
    committed = (RENDERED / f"{overlay}.yaml").read_text()
    assert parsed(overlay, committed).objects == parsed(overlay, render(command, overlay)).objects, "make manifests"


def test_a_mistake_in_an_overlay_is_not_rendered(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [absent.yaml]\n")
    ended = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ended.returncode != 0


def test_every_overlay_is_rendered_and_nothing_else() -> None:
    assert sorted(path.stem for path in RENDERED.glob("*.yaml")) == overlays()


def test_every_component_is_part_of_an_overlay() -> None:
    drawn_in = {folder for overlay in overlays() for folder in used(OVERLAYS / overlay)}
    there = {path.parent.resolve() for path in TOP.rglob("kustomization.yaml")}
    assert there - drawn_in == {(OVERLAYS / overlay).resolve() for overlay in overlays()}


def test_every_object_is_in_the_one_namespace(manifests: Manifests) -> None:
    elsewhere = [
        f"{thing['kind']}/{thing['metadata']['name']}"
        for thing in manifests.objects
        if thing["kind"] != "Namespace" and thing["metadata"].get("namespace") != "sluice"
    ]
    assert elsewhere == []


def test_a_changed_setting_changes_the_name_of_the_config_map(manifests: Manifests) -> None:
    (name,) = {
        source["configMapRef"]["name"]
        for pod in manifests.ours()
        for _, container in pod.containers()
        for source in container.get("envFrom", [])
    }
    assert re.fullmatch(r"settings-[a-z0-9]{10}", name)
