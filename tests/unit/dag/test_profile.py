"""Profiles whose user has something left to set or to install are refused before anything is submitted."""

from __future__ import annotations

import importlib.util
import os
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import SharedFSUsage

from scalinglaws.common.errors import StudyError
from scalinglaws.dag import environment, profile

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())


def settings(default: dict[str, Any], rules: dict[str, Any]) -> Any:
    """Return resource settings as Snakemake has them: a value that may be an expression is a function, its text is ``raw``."""
    as_given = {name: SimpleNamespace(raw=value) for name, value in default.items()}
    return SimpleNamespace(default_resources=as_given, overwrite_resources=rules)


def test_a_value_that_is_yet_to_be_set_is_refused() -> None:
    shipped = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())
    default, rules = shipped["default-resources"], shipped["set-resources"]
    with pytest.raises(StudyError, match="`slurm_account: CHANGE_ME` under default-resources: write the slurm_account"):
        profile.check_resources(settings(default, rules))
    profile.check_resources(settings(default | {"slurm_account": "physics"}, rules))
    with pytest.raises(StudyError, match="`slurm_partition: CHANGE_ME` under set-resources: train"):
        profile.check_resources(settings({}, {"train": {"slurm_partition": SimpleNamespace(raw="CHANGE_ME")}}))
    profile.check_resources(SimpleNamespace(default_resources=None, overwrite_resources={}))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workflow-profile", "profiles/slurm"], "executor slurm is not installed: run `make install-slurm`"),
        (["--profile=profiles/slurm", "all"], "run `make install-slurm`"),
        (["-e", "slurm"], "run `make install-slurm`"),
        (["--executor=aws-batch"], "install snakemake-executor-plugin-aws-batch into .venv"),
        (["--profile", "broken"], "broken/config.yaml is not YAML"),
    ],
)
def test_an_executor_that_is_not_installed_is_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.yaml").write_text("executor: [")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=said):
        profile.check_executor(arguments)
    profile.check_executor(["--profile", "profiles/default", "--executor", "local", "--profile", "of-the-user", "--cores"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    if "broken" not in arguments:
        profile.check_executor(arguments)


def test_a_run_outside_of_the_checkout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["--profile", "of-the-user"]):
        with pytest.raises(StudyError, match=f"there is no Snakefile in {tmp_path}: go to the folder"):
            profile.check_snakefile(arguments)
    for arguments in (["-s", "a"], ["--snakefile=a"], ["--directory", "a"]):
        profile.check_snakefile(arguments)
    (tmp_path / "Snakefile").touch()
    profile.check_snakefile([])


def test_nothing_is_kept_in_the_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("default", "local-gpu", "mac"):
        shared = yaml.safe_load((ROOT / f"profiles/{name}/profile.yaml").read_text())["shared-fs-usage"]
        kept = {SharedFSUsage.parse_choice(usage) for usage in shared}
        needed = {SharedFSUsage.PERSISTENCE, SharedFSUsage.INPUT_OUTPUT, SharedFSUsage.SOURCES}
        assert needed <= kept and SharedFSUsage.SOURCE_CACHE not in kept
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    environment.prepare()
    assert Path(os.environ["MPLCONFIGDIR"]) == Path.cwd() / "results/logs/matplotlib"


def test_snakemake_must_be_able_to_keep_its_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".snakemake").touch()
    with pytest.raises(WorkflowError, match=r"\.snakemake exists already and is something else"):
        environment.check()
    (tmp_path / ".snakemake").unlink()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(WorkflowError, match=rf"no permission for {tmp_path}/\.snakemake"):
        environment.check()


def test_an_old_snakemake_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = next(
        item for item in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"] if "snake" in item
    )
    assert f"snakemake>={environment.SNAKEMAKE}," in needed
    monkeypatch.setattr(environment, "SNAKEMAKE", "99.0")
    with pytest.raises(WorkflowError, match=r"99\.0"):
        environment.check()


def test_the_python_of_snakemake_must_have_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    environment.check()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(WorkflowError, match=r"which has no torch: run `make install`"):
        environment.check()
