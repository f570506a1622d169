"""The machine in words that fit any machine of its kind: no names, no addresses."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import django


def describe(postgresql: str) -> str:
    """Processor, cores, memory, and the versions that count; the load average as a warning of noise."""
    versions = [
        f"Python {platform.python_version()}",
        f"Django {django.get_version()}",
        f"PostgreSQL {postgresql}",
        f"Node {_version('node') or 'not installed'}",
        f"npm {_version('npm') or 'not installed'}",
    ]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB of memory, "
        f"{platform.system()} {_kernel()}; {', '.join(versions)}. "
        f"Load average at the start of the last run: {os.getloadavg()[0]:.1f}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _kernel() -> str:
    """Major and minor number: what follows is the builder's."""
    return ".".join(platform.release().split(".")[:2])


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _version(program: str) -> str:
    if shutil.which(program) is None:
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().removeprefix("v")
