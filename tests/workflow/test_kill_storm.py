"""Random kills of the workflow and of its jobs, over all stages; then the results have the bytes of the undisturbed study.

SCALINGLAWS_KILLS sets the number of kills: a few in the ordinary suite, some seconds each.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil

from scalinglaws.data.checked import NOTES
from workflow.conftest import SMOKE, Workflow, environment

KILLS = int(os.environ.get("SCALINGLAWS_KILLS", "5"))
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
OWN = "studies/smoke"
LAW, FIGURES = "power-n", ["fig02_learning_curves", "fig23_power_law_alternatives"]
SAME: tuple[str, ...] = (
    "runs/*/*[!g].json*",
    "runs/*/*.safetensors",
    "trunks/*/step*",
    "tokens/*/*/[!.]*",
    "corpora/*/*",
    "evals/*/*",
)
SAME += (
    f"{OWN}/tables/[rcw]*",
    f"{OWN}/tables/evals*",
    f"{OWN}/fits/{LAW}.json",
    *(f"{OWN}/figures/{name}.*" for name in FIGURES),
)


def forget(study: Workflow, shuffle: random.Random) -> None:
    """Delete some results of each stage, so that all of them have work."""
    results = study.folder / "results"
    corpus = shuffle.choice(sorted((results / "corpora").iterdir()))
    shutil.rmtree(corpus)
    shutil.rmtree(results / "tokens" / corpus.name)
    for name in ("tokenizers", "trunks", *(f"{OWN}/{name}" for name in ("tables", "fits", "figures"))):
        shutil.rmtree(results / name)
    for folder in shuffle.sample(sorted((results / "runs").glob("*")), 2):
        shutil.rmtree(folder)
    shutil.rmtree(shuffle.choice(sorted((results / "evals").glob("gpt*"))))


def victims(launcher: psutil.Process) -> list[tuple[str, psutil.Process]]:
    """Return (stage, process) of each job that runs, and of Snakemake itself."""
    found = []
    for process in launcher.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "snakemake" in words:
                found.append(("snakemake", process))
            elif "scalinglaws" in words:
                found.append((words[words.index("scalinglaws") + 1], process))
    return found


def storm(study: Workflow, kills: int, shuffle: random.Random, check) -> dict[str, int]:
    """Run the study, kill a process of it at random moments, and run it again, until there were so many kills; count them."""
    struck: dict[str, int] = {}
    while True:
        command = [sys.executable, "-m", "scalinglaws", "run", "--configfile", SMOKE, "--cores", "2"]
        with (study.folder / "storm.log").open("a") as log:
            run = subprocess.Popen(command, cwd=study.folder, env=environment(), stdout=log, stderr=log, start_new_session=True)
            launcher = psutil.Process(run.pid)
            while run.poll() is None:
                time.sleep(shuffle.uniform(0.05, 1.0))
                found = victims(launcher) if sum(struck.values()) < kills else []
                if not any(name != "snakemake" for name, _ in found):
                    continue
                # Stages that were struck often are spared more often, so that the short ones have their share.
                name, process = shuffle.choice(found)
                if shuffle.random() > 0.8 / (1 + struck.get(name, 0) / 3):
                    continue
                with contextlib.suppress(psutil.Error):
                    process.send_signal(shuffle.choice(SIGNALS))
                    struck[name] = struck.get(name, 0) + 1
        if run.returncode == 0:
            check()
            if sum(struck.values()) >= kills:
                return struck
            forget(study, shuffle)


def test_random_kills_change_no_byte(finished, study):
    shuffle = random.Random(15)
    whole = finished.bytes_of(*SAME)
    study.edit(lambda data: data.update(figures=FIGURES, fits={**data["fits"], "laws": [LAW]}))

    def check():
        made = study.bytes_of(*SAME)
        # Rungs that no run needed are not made again.
        assert {name for name in whole if not name.startswith("trunks/")} <= made.keys() <= whole.keys()
        assert [name for name, data in made.items() if data != whole[name]] == []
        left = [path for path in study.folder.glob("results/**/.*") if path.name != NOTES]
        left += [*study.folder.glob("results/**/*[tl]-[0-9]*.safetensors")]
        assert [*left, *study.folder.glob("results/*/*/progress.json")] == []

    forget(study, shuffle)
    struck = storm(study, KILLS, shuffle, check)
    print(f"kills: {struck}")
    assert sum(struck.values()) == KILLS
