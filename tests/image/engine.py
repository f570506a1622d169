"""Docker, or else podman and buildah: the few verbs that the tests need, alike for both."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUILD_TIMEOUT_S = 900
COMMAND_TIMEOUT_S = 60


class EngineError(Exception):
    """A command of the container engine failed; the text is what it said."""


@dataclass(frozen=True)
class Engine:
    """A container engine, by the name of its program."""

    program: str

    @property
    def is_podman(self) -> bool:
        return self.program == "podman"

    def build(self, context: Path, tag: str, *, target: str, arguments: Mapping[str, str]) -> str:
        """Build an image from the Dockerfile in `context`; returns what the build printed."""
        if self.is_podman:
            # Without --format docker, HEALTHCHECK is dropped; chroot needs no privilege that a CI machine may lack.
            command = ["buildah", "bud", "--format", "docker", "--isolation", "chroot", "--layers", "--pull=false"]
        else:
            command = ["docker", "build", "--progress=plain"]
        certificate = os.environ.get("PIP_CERT")
        if certificate:  # a proxy that signs TLS itself
            command += [f"--secret=id=pip_cert,src={certificate}", "--build-arg=PIP_CERT=/run/secrets/pip_cert"]
        command += [f"--build-arg={name}={value}" for name, value in arguments.items()]
        return run([*command, f"--target={target}", f"--tag={tag}", str(context)], timeout_s=BUILD_TIMEOUT_S)

    def __call__(self, *arguments: str) -> str:
        """Run one of the engine's commands and return what it printed.

        Raises:
            EngineError: if it fails.
        """
        return run([self.program, *arguments])

    def inspect(self, image: str) -> dict[str, Any]:
        """What the engine knows of an image."""
        return dict(json.loads(self("image", "inspect", image))[0])

    def remove(self, containers: Sequence[str]) -> None:
        """Kill and remove containers; podman would first wait for those that ignore SIGTERM."""
        at_once = ["--time=0"] if self.is_podman else []
        self("rm", "--force", "--volumes", *at_once, *containers)

    def health(self, container: str) -> int:
        """Run the image's own HEALTHCHECK in a container, as the engine does; returns its exit status."""
        if self.is_podman:
            return subprocess.run(
                ["podman", "healthcheck", "run", container],
                capture_output=True,
                timeout=COMMAND_TIMEOUT_S,
                check=False,
            ).returncode
        # Docker runs it by its own clock only, so the same command is run by hand.
        config = json.loads(self("inspect", container))[0]["Config"]
        kind, *command = config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return subprocess.run(
            [self.program, "exec", container, *command], capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        ).returncode


def run(command: Sequence[str], timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    completed = subprocess.run(command, text=True, capture_output=True, timeout=timeout_s, check=False)
    if completed.returncode != 0:
        output = (completed.stdout + completed.stderr)[-4000:]
        raise EngineError(f"{' '.join(command)} exited with {completed.returncode}:\n{output}")
    return completed.stdout


def find_engine() -> Engine | None:
    """The engine that works on this machine, if any: a docker client without its daemon or BuildKit is none."""
    if works("docker", "version") and works("docker", "buildx", "version"):
        return Engine("docker")
    if works("podman", "version") and works("buildah", "version"):
        return Engine("podman")
    return None


def works(*command: str) -> bool:
    """Whether a program exists and its command succeeds."""
    if not shutil.which(command[0]):
        return False
    return subprocess.run(command, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False).returncode == 0
