"""The stage that fetches published weights: config.json and .safetensors files of a model on the hub, at one commit.

    python -m scalinglaws weights --spec results/weights/ID/spec.json --out results/weights/ID

Files of pickles (.bin) are never fetched, since reading them runs code.
"""

from __future__ import annotations

import glob
import re
import sys
from pathlib import Path
from typing import Any

from scalinglaws.common import files, finished, sums
from scalinglaws.common.errors import StudyError
from scalinglaws.common.read import read_object
from scalinglaws.data.hub_files import Repository, is_intact, snapshot
from scalinglaws.study.init import CONFIG, INDEX, WHOLE, Weights

SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors")


def fetch(weights: Weights, out: Path) -> None:
    """Write the files of published weights to a folder, with their sums; config.json is the last of them.

    They are links to the files in the hub's cache, or copies where that lies on another file system.

    Parameters
    ----------
    weights
        The model, its commit and the sums that the config pins.
    out
        The folder, results/weights/ID.

    Raises
    ------
    StudyError
        The files cannot be had, are damaged, or have another sha256 than the config says; or there are none of this kind.
    """
    asked = Repository("model", weights.repository, weights.revision, "`init.huggingface` and `init.revision`")
    print(f"weights: fetching {asked}, revision {weights.revision}", file=sys.stderr, flush=True)
    found = _whole(asked, [CONFIG, WHOLE, INDEX])
    if CONFIG not in found:
        raise StudyError(f"{asked}, revision {weights.revision}, has no {CONFIG}: init needs a model that transformers loads")
    if WHOLE not in found:
        listed = _shards(asked, found)
        found |= _whole(asked, listed)
        if missing := sorted(set(listed) - set(found)):
            raise StudyError(
                f"{asked}, revision {weights.revision}: {missing[0]} is listed in {INDEX} and is not there: take another revision"
            )
    found.pop(INDEX, None)
    _check_sums(asked, weights, found)
    with finished.making(out / CONFIG) as folder:
        tensors = sorted(name for name in found if name != CONFIG)
        for name in tensors:
            files.link(found[name].resolve(), folder / name)
        sums.finish(folder / sums.LIST, [folder / name for name in tensors], folder / CONFIG, found[CONFIG].read_bytes())


def _whole(asked: Repository, names: list[str]) -> dict[str, Path]:
    """Return those of the named files that the repository has, from the hub's cache; a damaged one is fetched once more."""
    patterns = [glob.escape(name) for name in names]
    found = _named(snapshot(asked, patterns), names)
    if wrong := [name for name, path in found.items() if is_intact(path) is False]:
        print(f"{asked}: {', '.join(wrong)} is damaged in the cache and is fetched again", file=sys.stderr)
        found = _named(snapshot(asked, [glob.escape(name) for name in wrong], again=True), names)
    if still := [name for name in wrong if name in found and is_intact(found[name]) is False]:
        raise StudyError(
            f"{asked}, revision {asked.revision}: {still[0]} in the hub's cache has not the hash that the hub names, and no "
            f"other could be fetched: run again with a connection, or delete {found[still[0]]}"
        )
    return found


def _named(folder: Path, names: list[str]) -> dict[str, Path]:
    return {name: folder / name for name in names if (folder / name).is_file()}


def _shards(asked: Repository, found: dict[str, Path]) -> list[str]:
    """Return the names of the files that the index of a model in several files lists. Raises StudyError where there is none."""
    if INDEX not in found:
        raise StudyError(
            f"{asked}, revision {asked.revision}, has neither {WHOLE} nor {INDEX}: other formats of weights, such as the "
            "pickles of pytorch_model.bin, are not read; take a revision that has safetensors"
        )
    listed: Any = read_object(found[INDEX], "take another revision").get("weight_map")
    names = sorted(set(map(str, listed.values()))) if isinstance(listed, dict) else []
    if not names or not all(SHARD.fullmatch(name) for name in names):
        raise StudyError(f"{asked}, revision {asked.revision}: {INDEX} lists no .safetensors files: take another revision")
    return names


def _check_sums(asked: Repository, weights: Weights, found: dict[str, Path]) -> None:
    """Compare the files with the sums of the config. Raises StudyError where one differs, or is none of the files."""
    for name, expected in sorted(weights.sha256.items()):
        if name not in found:
            raise StudyError(f"init.sha256: {name} is none of the files of {asked}: these are {', '.join(sorted(found))}")
        if (computed := sums.sha256_of(found[name])) != expected:
            raise StudyError(
                f"{asked}, revision {weights.revision}: {name} has sha256 {computed}, and init.sha256 says {expected}: "
                "get the right revision, or change the hash if the new content is meant"
            )
    read_object(found[CONFIG], "take another revision")
