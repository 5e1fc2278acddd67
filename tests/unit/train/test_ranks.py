"""Processes know their ranks from torchrun, or from srun where the launcher says that they train together."""

from __future__ import annotations

import socket

import pytest

from scalinglaws.train.ranks import PORT, first_host, meeting, wanted

SLURM = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}


def test_the_launcher_is_known_by_its_variables() -> None:
    assert wanted({}) == (0, 1, 0)
    assert wanted({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) == (3, 4, 1)
    assert wanted({"RANK": "", "WORLD_SIZE": "4"}) == (0, 1, 0)


def test_tasks_of_slurm_are_ranks_where_a_launcher_started_them() -> None:
    assert wanted(SLURM | {PORT: "29501"}) == (5, 8, 1)
    assert wanted(SLURM) == (0, 1, 0)  # a job with several tasks, of which each may train a run of its own
    assert wanted({PORT: "29501"}) == (0, 1, 0)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu7", "gpu7"),
        ("gpu7,gpu9", "gpu7"),
        ("gpu[001-004,007],login1", "gpu001"),
        ("gpu[03,05]", "gpu03"),
        ("rack[2-3]node[08-09]-ib", "rack2node08-ib"),
        ("a-b[1-2],c", "a-b1"),
        ("", ""),
    ],
)
def test_the_first_host_of_a_list_is_found(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_processes_meet_at_the_first_node_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: None) -> list[str]:
        if host not in ("gpu001", "fast"):
            raise socket.gaierror
        return [host]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    given = {PORT: "29501", "SLURM_STEP_NODELIST": "gpu[001-002]", "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1"}
    assert meeting(given) == "tcp://gpu001:29501"
    # Where the name is known to Slurm alone, the address of the node that called srun serves.
    assert meeting(given | {"SLURM_STEP_NODELIST": "n[1-2]"}) == "tcp://10.0.0.1:29501"
    assert meeting(given | {"MASTER_ADDR": "fast"}) == "tcp://fast:29501"
    assert meeting({"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}) == "env://"
