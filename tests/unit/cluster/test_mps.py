"""A bundle's processes share a GPU by MPS where the machine has it; the programs of the driver are made up here."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import psutil
import pytest

from scalinglaws.cluster import bundle_job, mps
from scalinglaws.cluster.bundle import Bundle, Member

# It logs its calls and its folders, and waits as a daemon does until it is told to quit.
DAEMON = """#!/bin/sh
if [ "$1" = -f ]; then
  echo "start $CUDA_VISIBLE_DEVICES" >> "$MPS_TEST/calls"
  echo $$ > "$CUDA_MPS_PIPE_DIRECTORY/pid"
  echo "$CUDA_MPS_PIPE_DIRECTORY" > "$MPS_TEST/pipes"
  [ -d "$CUDA_MPS_LOG_DIRECTORY" ] || exit 9
  exec sleep 600
fi
read order
echo "$order" >> "$MPS_TEST/calls"
[ -e "$CUDA_MPS_PIPE_DIRECTORY/pid" ] || exit 1
if [ "$order" = quit ] && [ -z "$MPS_STUBBORN" ]; then kill "$(cat "$CUDA_MPS_PIPE_DIRECTORY/pid")"; fi
"""
BROKEN = "#!/bin/sh\nexit 1\n"
# It ends when as many of its kind have been started as MPS_WAIT says, and notes how many run beside it.
TRAINING = """#!/bin/sh
mkdir "$MPS_TEST/run-$$"; touch "$MPS_TEST/started-$$"
echo "$@" >> "$MPS_TEST/arguments"
for look in $(seq 100); do
  sleep 0.1
  ls "$MPS_TEST" | grep -c ^run- >> "$MPS_TEST/most"
  [ "$(ls "$MPS_TEST" | grep -c ^started-)" -lt "$MPS_WAIT" ] || break
done
rmdir "$MPS_TEST/run-$$"
"""
SMI = '#!/bin/sh\necho "$@" >> "$MPS_TEST/smi"\necho {}\n'


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a machine with no program of the driver."""
    (tmp_path / "bin").mkdir()
    return {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "MPS_TEST": str(tmp_path)}


def install(machine: dict[str, str], name: str, text: str) -> None:
    path = Path(machine["MPS_TEST"], "bin", name)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def calls(machine: dict[str, str]) -> list[str]:
    return Path(machine["MPS_TEST"], "calls").read_text().splitlines()


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_daemon_serves_the_block_and_is_stopped_after_it(machine: dict[str, str]) -> None:
    install(machine, mps.CONTROL, DAEMON)
    before = machine | {"CUDA_VISIBLE_DEVICES": "3"}
    machine |= {"CUDA_VISIBLE_DEVICES": "3"}
    with mps.shared_gpu(4, machine) as at_once:
        assert at_once == 4
        pipes, logs = (Path(machine[name]) for name in (mps.PIPES, mps.LOGS))
        assert pipes.is_dir() and logs.is_dir() and pipes.parent == logs.parent and len(str(pipes)) < 90
        pid = int((pipes / "pid").read_text())
        assert alive(pid)
        assert machine["CUDA_VISIBLE_DEVICES"] == "0"  # the daemon, which was given GPU 3, calls it 0
    assert machine == before and not alive(pid) and not pipes.parent.exists()
    # It was asked for its servers before it had started, too, where the machine is slow.
    assert [call for call in calls(machine) if call != "get_server_list"] == ["start 3", "quit"]


def test_gpus_that_have_names_keep_them(machine: dict[str, str]) -> None:
    install(machine, mps.CONTROL, DAEMON)
    machine["CUDA_VISIBLE_DEVICES"] = "GPU-8f1c"
    with mps.shared_gpu(2, machine):
        assert machine["CUDA_VISIBLE_DEVICES"] == "GPU-8f1c"


def test_a_daemon_that_does_not_quit_is_ended(machine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mps, "STOP_SECONDS", 0.5)
    install(machine, mps.CONTROL, DAEMON)
    machine["MPS_STUBBORN"] = "1"
    with pytest.raises(KeyboardInterrupt), mps.shared_gpu(2, machine):
        pid = int(Path(machine[mps.PIPES], "pid").read_text())
        raise KeyboardInterrupt
    assert not alive(pid) and mps.PIPES not in machine


def test_without_a_daemon_processes_take_turns(machine: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    install(machine, "nvidia-smi", SMI.format("Default"))
    with mps.shared_gpu(4, machine) as at_once:
        assert at_once == 4 and mps.PIPES not in machine
    assert f"4 processes take turns on the GPU: {mps.CONTROL} is not on the path" in capsys.readouterr().err


@pytest.mark.parametrize("control", ["", BROKEN])
def test_a_gpu_for_one_process_gets_one_at_a_time(
    machine: dict[str, str], control: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install(machine, "nvidia-smi", SMI.format("Exclusive_Process"))
    if control:
        install(machine, mps.CONTROL, control)
    machine["CUDA_VISIBLE_DEVICES"] = "2"
    with mps.shared_gpu(4, machine) as at_once:
        assert at_once == 1
    assert "takes one process at a time (EXCLUSIVE_PROCESS)" in capsys.readouterr().err
    assert Path(machine["MPS_TEST"], "smi").read_text() == "--query-gpu=compute_mode --format=csv,noheader --id=2\n"
    # The daemon's server is that process.
    install(machine, mps.CONTROL, DAEMON)
    with mps.shared_gpu(4, machine) as at_once:
        assert at_once == 4


def test_nothing_is_started_for_one_process_or_beside_another_daemon(machine: dict[str, str]) -> None:
    install(machine, mps.CONTROL, DAEMON)
    with mps.shared_gpu(1, machine) as at_once:
        assert at_once == 1
    machine[mps.PIPES] = "/of/the/site"
    with mps.shared_gpu(4, machine) as at_once:
        assert at_once == 4 and machine[mps.PIPES] == "/of/the/site"
    assert not Path(machine["MPS_TEST"], "calls").exists()


EXCLUSIVE = "Exclusive_Process"


@pytest.mark.parametrize(("device", "mode", "most"), [("cuda", EXCLUSIVE, 1), ("cuda", "Default", 3), ("cpu", EXCLUSIVE, 3)])
def test_members_of_a_bundle_are_as_many_as_the_gpu_takes(
    device: str, mode: str, most: int, machine: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(machine, "nvidia-smi", SMI.format(mode))
    # In place of a training: it notes how many of its kind run, and its arguments.
    install(machine, "python", TRAINING)
    monkeypatch.setattr(bundle_job.sys, "executable", str(tmp_path / "bin" / "python"))
    for name, value in (machine | {"MPS_WAIT": str(most)}).items():
        monkeypatch.setenv(name, value)
    members = tuple(Member(f"m{i}", (), (), (), 1) for i in range(4))
    path = tmp_path / "b.json"
    path.write_text(Bundle(members, 3, 1, 100).canonical)
    monkeypatch.setattr(bundle_job.bundle, "read", lambda path: Bundle(members, 3, 1, 100))
    bundle_job.train_all(path, 3, tmp_path, device)
    assert max(map(int, (tmp_path / "most").read_text().split())) == most
    lines = (tmp_path / "arguments").read_text().splitlines()
    assert len(lines) == 4 and all(f"--at-once {most} " in line and f"--device {device}" in line for line in lines)
    assert mps.PIPES not in os.environ
