"""What must be there before Snakemake is started or submits jobs: its Snakefile, its executor, the values of a profile."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from scalinglaws.cluster.device import PLACEHOLDER
from scalinglaws.common.errors import StudyError, shown
from scalinglaws.common.nearest import proposal

OF_SNAKEMAKE = ("local", "dryrun", "touch")  # executors that need no plug-in
TRACKERS = ("tensorboard",)  # what trainings can be watched with: the names of libraries
NAMES = ("config.yaml", "profile.yaml")  # the file of a profile in its folder


def check_resources(settings: Any) -> None:
    """Check that no resource of Snakemake's ``resource_settings`` is one that the user of a profile has yet to set.

    Raises StudyError that names the resource.
    """
    everywhere = {"default-resources": settings.default_resources or {}}
    for place, resources in (everywhere | {f"set-resources: {k}": v for k, v in settings.overwrite_resources.items()}).items():
        for name, resource in resources.items():
            if PLACEHOLDER in str(getattr(resource, "raw", resource)):
                raise StudyError(
                    f"the profile has `{name}: {PLACEHOLDER}` under {place}: write the {name} of your cluster there "
                    "(docs/cluster.md), or take the line out if your cluster needs none"
                )


def jobs_at_once(settings: Any) -> int:
    """Return how many jobs may run beside each other: the cores of this machine, or the jobs that are submitted to a cluster."""
    return max(1, settings.cores or 0, settings.nodes or 0)


def check_snakefile(arguments: Sequence[str]) -> None:
    """Check that there is a Snakefile in this folder, or that arguments of Snakemake name one. Raises StudyError."""
    if not {"-s", "--snakefile", "-d", "--directory"} & set(_given(arguments)) and not Path("Snakefile").exists():
        raise StudyError(f"there is no Snakefile in {shown(Path.cwd())}: go to the folder of the checkout, then run again")


def check_executor(arguments: Sequence[str]) -> None:
    """Check that the executor which arguments of Snakemake name, themselves or by a profile, is installed.

    Raises StudyError where it is not, or where a profile cannot be read.
    """
    given = _given(arguments)
    executors = [given.get("--executor"), given.get("-e")]
    executors += [_read(Path(given[name])).get("executor") for name in ("--profile", "--workflow-profile") if name in given]
    for executor in filter(None, executors):
        plugin = f"snakemake_executor_plugin_{str(executor).replace('-', '_')}"
        if executor not in OF_SNAKEMAKE and importlib.util.find_spec(plugin) is None:
            how = "run `make install-slurm`" if executor == "slurm" else f"install {plugin.replace('_', '-')} into .venv"
            raise StudyError(f"Snakemake's executor {executor} is not installed: {how}, then run again")


def parse_track(value: Any) -> tuple[str, ...]:
    """Return what trainings are watched with, as a profile lists it. Raises StudyError where that is no list of TRACKERS."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise StudyError(f"the profile: track: a list such as [tensorboard] is expected, found {value!r:.60}")
    if unknown := [name for name in value if name not in TRACKERS]:
        raise StudyError(f"the profile: track: {unknown[0]!r:.60} is unknown: {proposal(unknown[0], TRACKERS)}")
    return tuple(value)


def check_track(track: Sequence[str]) -> None:
    """Check that the libraries which trainings are to be watched with are installed. Raises StudyError."""
    for name in track:
        if importlib.util.find_spec(name) is None:
            raise StudyError(f"the profile: track: the library {name} is not installed: pip install {name}, or take it out")


def _given(arguments: Sequence[str]) -> dict[str, str]:
    """Return the options among arguments, with their values, written as --option VALUE or --option=VALUE."""
    found = {}
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = word.partition("=")
        if name.startswith("-"):
            found[name] = value if equals else following
    return found


def _read(profile: Path) -> Mapping[str, Any]:
    """Return the keys of a profile; none for one that lies in the folders of the user or of the site, which Snakemake reads."""
    file = next((profile / name for name in NAMES if (profile / name).is_file()), None)
    if file is None:
        return {}
    try:
        keys = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise StudyError(f"{file} is not YAML: {error}") from None
    return keys if isinstance(keys, Mapping) else {}
