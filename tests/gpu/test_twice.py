"""A run that is trained twice, and one that is cut and goes on, end with the same bytes where equal bits are asked for."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from fixtures.on_a_gpu import N_VOCAB, command, environment, sized, zipf_text
from fixtures.small_runs import same_run, write_tokens
from scalinglaws.common.asked import DETERMINISTIC
from scalinglaws.train.checkpoint import found

SECONDS = 240  # within which a process must end


def saved(folder: Path) -> int:
    """Return the step of the newest checkpoint of a run; 0 where there is none."""
    return max((step for step, _ in found(folder, "checkpoint-")), default=0)


def test_trained_twice_and_cut(device: str, tmp_path: Path, record_property: Any) -> None:
    """Three processes train the run beside each other; one of them is told to stop after a quarter of it, and goes on."""
    steps = 2000 if device == "cuda" else 300
    spec = sized(
        2,
        64,
        precision="bfloat16",
        dropout=0.1,
        n_ctx=64,
        batch_tokens=512,
        tokens=512 * steps,
        noise_every=16,
        schedule="cosine",
    )
    write_tokens(tmp_path / "tokens" / spec.tokens_id, train=200_000, held_out=5000, n_vocab=N_VOCAB, text=zipf_text)
    more = ("--checkpoint-seconds", "0.2")
    lines = {name: command(spec, tmp_path / "tokens", tmp_path / name, device, *more) for name in ("one", "two", "cut")}
    whole = environment(**{DETERMINISTIC: "1"})
    processes = {name: subprocess.Popen(line, env=whole, stderr=subprocess.DEVNULL) for name, line in lines.items()}
    end = time.monotonic() + SECONDS
    try:
        while processes["cut"].poll() is None and saved(tmp_path / "cut") < steps // 4 and time.monotonic() < end:
            time.sleep(0.02)
        processes["cut"].send_signal(signal.SIGTERM)
        codes = {name: process.wait(timeout=SECONDS) for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
    assert codes == {"one": 0, "two": 0, "cut": 143}, codes
    record_property("cut at step", f"{saved(tmp_path / 'cut')} of {steps}")
    subprocess.run(lines["cut"], env=whole, check=True, timeout=SECONDS)
    timings = {name: json.loads((tmp_path / name / "timing.json").read_text()) for name in lines}
    assert timings["cut"]["attempts"] == 2
    if device == "cuda":
        assert all(timing["deterministic"] and timing["compiled"] == "yes" for timing in timings.values()), timings
    same_run(tmp_path / "one", tmp_path / "two")
    same_run(tmp_path / "one", tmp_path / "cut")
