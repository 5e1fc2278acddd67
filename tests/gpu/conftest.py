"""The device of the battery, the order of its checks, and a line for each: its time and what it measured.

    python -m pytest tests/gpu --device cuda
    python -m pytest tests/gpu --device cpu      # what can be checked without a GPU

docs/gpu.md says what is checked against what.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fixtures.on_a_gpu import N_VOCAB, WORKSPACE, zipf_text
from fixtures.small_runs import write_tokens
from scalinglaws.common.errors import StudyError
from scalinglaws.models.cuda import driver_version
from scalinglaws.models.determinism import set_deterministic
from scalinglaws.models.device import device_name, prepare

# The checks that are cheap and decide most come first.
ORDER = ("refused", "attention", "optimizers", "against_gpt2", "compiled", "stacks", "memory", "curve", "twice", "processes")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option by which a person says where the battery runs."""
    parser.addoption("--device", choices=("cuda", "cpu"), default="cuda", help="where the battery of tests/gpu runs: cuda or cpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in their order."""
    items.sort(key=lambda item: ORDER.index(item.path.stem.removeprefix("test_")))


def asked(config: pytest.Config) -> str:
    """Return the device that the battery was asked to run on."""
    return str(config.getoption("--device", "cuda"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """End with status 1 where a GPU is asked for and PyTorch can use none: checks that are skipped would prove nothing."""
    # cuBLAS looks at it once in a process, which is before a test asks for equal bits.
    os.environ.setdefault(WORKSPACE, ":4096:8")
    try:
        prepare(max(1, min(8, (os.cpu_count() or 2) // 2)), asked(session.config))
    except StudyError as error:
        pytest.exit(f"the battery has run nothing: {error}", returncode=1)


def pytest_report_header(config: pytest.Config) -> str:
    """Say what the battery runs on."""
    device = asked(config)
    driver = f", driver {driver_version()}, GPUs visible: {torch.cuda.device_count()}" if device == "cuda" else ""
    return f"battery: {device} ({device_name(device)}{driver}), PyTorch {torch.__version__}, CUDA {torch.version.cuda}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip on a CPU what needs a GPU, with the reason."""
    for mark in item.iter_markers("needs_gpu"):
        if asked(item.config) == "cpu":
            pytest.skip(f"needs a GPU: {mark.args[0]}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print a line for each check: its time, its outcome, and the numbers that it measured."""
    seconds: dict[str, float] = {}
    lines: dict[str, tuple[str, str]] = {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + report.duration
                numbers = ", ".join(f"{name} {value}" for name, value in report.user_properties)
                if outcome or report.nodeid not in lines:
                    lines[report.nodeid] = outcome, numbers
    terminalreporter.section(f"the battery on {asked(config)}")
    for name, (outcome, numbers) in lines.items():
        terminalreporter.write_line(f"{seconds[name]:7.1f} s  {outcome or 'passed':8}{name.partition('::')[2]}  {numbers}")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Return cuda or cpu."""
    return asked(request.config)


@pytest.fixture(autouse=True)
def fresh(device: str) -> Iterator[None]:
    """Let a test see no compiled code, no reserved memory and no setting of another one."""
    yield
    if "torch._dynamo" in sys.modules:  # what a reset would import, for seconds
        torch.compiler.reset()
    set_deterministic(False)
    if device == "cuda":
        torch.cuda.empty_cache()


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of token files with a vocabulary of 256, of which a model has much to learn."""
    return write_tokens(tmp_path_factory.mktemp("tokens"), train=600_000, held_out=20_000, n_vocab=N_VOCAB, text=zipf_text)
