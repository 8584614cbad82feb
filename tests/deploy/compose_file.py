"""docker-compose.yml as the tests read it: variables at their defaults, what each service gets from where."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
WITHOUT_END = {"migrate", "s3-bucket"}  # these run once; everything else runs until it is stopped


@dataclass(frozen=True)
class Compose:
    """The file with its variables filled in, as text and as what it says."""

    root: Path
    text: str

    @property
    def document(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load(self.text)
        return loaded

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = self.document["services"]
        return found

    def of_ours(self) -> dict[str, dict[str, Any]]:
        """The services that run the image of this repository."""
        return {name: service for name, service in self.services.items() if "build" in service}

    def secret(self, name: str) -> Path:
        return self.root / str(self.document["secrets"][name]["file"])

    def environment(self, name: str) -> dict[str, str]:
        """What the process of a service sees: environment, `env_file`, and the secret behind `--env-file`."""
        service = self.services[name]
        values: dict[str, str | None] = {}
        command = service.get("command", [])
        if "--env-file" in command:
            values |= dotenv_values(self.secret(Path(command[command.index("--env-file") + 1]).name))
        for file in service.get("env_file", []):
            values |= dotenv_values(self.root / file)
        values |= service.get("environment", {})
        return {key: value or "" for key, value in values.items()}


def read_compose(root: Path, **variables: str) -> Compose:
    """The file with these variables, and the defaults of the others."""
    text = (root / "docker-compose.yml").read_text()
    return Compose(root, VARIABLE.sub(lambda found: variables.get(found[1], found[2] or ""), text))


def seconds(text: str) -> float:
    """A duration as this file writes them."""
    assert text.endswith("s"), text
    return float(text[:-1])
