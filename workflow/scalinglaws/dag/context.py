"""What one parse of the Snakefile knows: the study, the device, and everything that the rules ask about them.

A ``Context`` is made once. On the machine where Snakemake was started it comes from the config; in a job on a cluster node it
comes from the snapshot that was saved when the job was submitted, since config.yaml may have changed by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from scalinglaws.cluster.bundle import Bundle
from scalinglaws.cluster.bundle import read as read_bundle
from scalinglaws.cluster.bundles import bundle_up
from scalinglaws.cluster.cost import Speeds, measured_speeds
from scalinglaws.cluster.device import Device, parse_device
from scalinglaws.cluster.needs import check_fits
from scalinglaws.common.errors import StudyError, faults_told
from scalinglaws.common.sums import read_named
from scalinglaws.dag import profile, snapshot
from scalinglaws.decide import named_files
from scalinglaws.decide.load import of_config
from scalinglaws.figures import registry
from scalinglaws.laws import registry as laws_model
from scalinglaws.study import config as config_model
from scalinglaws.study import ladder, paths, read_yaml
from scalinglaws.study import study as study_model
from scalinglaws.study.explain import Line, no_line
from scalinglaws.study.spec import CorpusSpec, MixtureSpec, RunSpec, TokenizerSpec, read_spec
from scalinglaws.study.study import Study
from scalinglaws.study.sweeps import Sweep, read_sweep

# Rules name their files relative to the working directory, and so does this room.
RESULTS = Path("results")
# Keys that a profile adds to the config: the device, the rules that run where Snakemake does, and what trainings are watched
# with. They are no part of a study.
OF_PROFILE = frozenset({"device", "local", "track"})


@dataclass(frozen=True, eq=False)  # compared by identity, so that functions of a context can be cached
class Context:
    """The study, and how its jobs are to be run. A job on a cluster node knows of no bundles but the one in its file."""

    study: Study
    config: Mapping[str, Any] = field(default_factory=dict)  # the keys of the config that belong to the study
    device: Device | None = None
    speeds: Speeds = field(default_factory=dict)
    bundles: Mapping[str, Bundle] = field(default_factory=dict)  # the bundles that are to be made, by id
    track: tuple[str, ...] = ()  # what trainings are watched with
    in_job: bool = False  # whether this process was started by a scheduler, to run one job

    @cached_property
    def folder(self) -> Path:
        """Return the folder of the study's own results: tables, fits, figures and report."""
        return paths.study_folder(RESULTS, self.study.name)

    @cached_property
    def laws(self) -> tuple[str, ...]:
        """Return the laws that are fitted."""
        return laws_model.laws_of(self.study)

    @cached_property
    def forecasting(self) -> tuple[str, ...]:
        """Return the laws that say what runs will come out with before these are trained; none in a study without forecasts."""
        return laws_model.forecasting(self.study)

    @cached_property
    def basis(self) -> Path:
        """Return the folder of the tables that forecasts follow from.

        They are tables of the study's basis alone: a run that is forecast waits for the fits, and tables of all runs wait for
        that run.
        """
        return self.folder / "basis"

    def tables_of_law(self, law: str) -> Path:
        """Return the folder of the tables that a law is fitted to: the basis for laws of forecasts, else all runs."""
        return self.basis if law in self.forecasting else self.folder / "tables"

    @cached_property
    def figures(self) -> list[str]:
        """Return the figures that are drawn: those that the config asks for and that the study has the runs for."""
        asked = registry.asked(self.study.figures)
        return [name for name in registry.drawable(self.study.kinds, set(self.laws)) if name in asked]

    @cached_property
    def bundle_of_run(self) -> dict[str, str]:
        """Return run -> the bundle that trains it, for runs that have one."""
        return {run: name for name, bundle in self.bundles.items() for run in bundle.runs}

    @cached_property
    def bundle_of_evaluation(self) -> dict[tuple[str, str], str]:
        """Return (run, evaluation set) -> the bundle that makes this evaluation, for those that have one."""
        return {pair: name for name, bundle in self.bundles.items() for pair in bundle.evaluations}

    @cached_property
    def bundle_of_rung(self) -> dict[tuple[str, int], str]:
        """Return (trunk, step) -> the bundle that makes this rung, for rungs that have one."""
        return {rung: name for name, bundle in self.bundles.items() for rung in bundle.rungs}

    @cached_property
    def _rungs_below(self) -> dict[tuple[str, int], int]:
        """Return (trunk, step) of each rung of the study -> the step of the rung below; 0 where that is the first."""
        return {
            (trunk, step): below
            for trunk, steps in self.study.rungs.items()
            for below, step in zip([0, *steps], steps, strict=False)
        }

    def rung_below(self, trunk: str, step: int) -> int:
        """Return the step of the rung below the one at ``step``; 0 where that is the first."""
        known = self._rungs_below.get((trunk, step))
        return ladder.below(step, self.trunk_spec(trunk).batch_tokens, self.study.ladder) if known is None else known

    def run_spec(self, run: str) -> RunSpec:
        """Return the spec of a run: the study's, else the one in the run's file."""
        return self.study.runs.get(run) or _kept(f"{RESULTS}/runs/{run}/spec.json")

    def trunk_spec(self, trunk: str) -> RunSpec:
        """Return the spec of a trunk: the study's, else the one in the trunk's file."""
        return self.study.trunks.get(trunk) or _kept(f"{RESULTS}/trunks/{trunk}/spec.json")

    def tokenizer_spec(self, tokenizer: str) -> TokenizerSpec:
        """Return the spec of a tokenizer: the study's, else the one in the tokenizer's file."""
        return self.study.tokenizers.get(tokenizer) or _kept(f"{RESULTS}/tokenizers/{tokenizer}/spec.json", "tokenizer")

    def corpus_spec(self, corpus: str) -> CorpusSpec | MixtureSpec:
        """Return the spec of a corpus or mixture: the study's, else the one in its file."""
        return self.study.corpora.get(corpus) or _kept(f"{RESULTS}/corpora/{corpus}/spec.json", "corpus")

    def evaluation_set(self, name: str) -> tuple[str, ...]:
        """Return the token folders of an evaluation set: the study's, else those in the set's file."""
        found = self.study.evaluation_sets.get(name)
        return found or tuple(read_named(paths.evaluation_set_path(RESULTS, name)).split())

    def sweep(self, name: str) -> Sweep:
        """Return a sweep of the learning rate: the study's, else the one in the sweep's file."""
        return self.study.sweeps.get(name) or read_sweep(paths.sweep_path(RESULTS, name))

    def bundle(self, name: str) -> Bundle:
        """Return a bundle that is to be made, else the one in the bundle's file."""
        return self.bundles.get(name) or _kept_bundle(paths.bundle_path(RESULTS, name))


@cache
def _kept(path: str, kind: str = "run") -> Any:
    return read_spec(path, kind)


@cache
def _kept_bundle(path: Path) -> Bundle:
    return read_bundle(path)


def of_snakemake(config: Mapping[str, Any], configfiles: Sequence[Any], entries: Mapping[str, Any], in_job: bool) -> Context:
    """Return the context of this parse from what Snakemake knows, after a look at the files that the study names; see ``read``.

    Parameters
    ----------
    config
        What Snakemake has read.
    configfiles
        The files that it has read, in the order in which they are merged. They are read again by the strict reader of YAML:
        Snakemake's takes the last of two equal keys, and numbers as YAML 1.1 has them.
    entries
        What --config and the profile add to them.
    in_job
        Whether this is a job on a cluster node, which reads no config file.

    Raises
    ------
    StudyError
        The config cannot be used, a file that it names is missing, or a run cannot fit the device.
    """
    name = ", ".join(map(str, configfiles)) or "config"
    if in_job:
        return read(config, name, in_job)
    from snakemake.utils import update_config

    documents = [read_yaml.read(path) for path in configfiles]
    merged: dict[str, Any] = {}
    for document in documents:
        if not isinstance(document.data, dict):
            raise StudyError(f"{document.name}: a mapping with the keys of a study is expected")
        update_config(merged, document.data)
    update_config(merged, entries)
    made = read(merged, name, in_job, documents[0].where if len(documents) == 1 else no_line)
    named_files.check(made.study, RESULTS)
    return made


@faults_told()
def read(config: Mapping[str, Any], name: str, in_job: bool, line: Line = no_line) -> Context:
    """Return the context of this parse. It writes nothing: see ``kept.write``.

    ``config`` is what the config files and a profile say, and ``name`` is the file that it came from, for errors, with ``line``,
    which tells where in it a key stands. ``in_job`` says whether this is a job on a cluster node, which takes nothing from
    ``config`` but the device and what trainings are watched with.

    Raises StudyError where the config cannot be used or a run cannot fit the device.
    """
    device, local = parse_device(config.get("device")), config.get("local", [])
    track = profile.parse_track(config.get("track", []))
    if not isinstance(local, list) or not all(isinstance(rule, str) for rule in local):
        raise StudyError(f"the profile: local: a list of names of rules is expected, found {local!r:.60}")
    if in_job:
        submitted = snapshot.of_job()
        if submitted is None:
            return Context(study_model.empty(), device=device, track=track, in_job=True)
        study = of_config(config_model.parse(submitted.config, str(submitted.path)))
        return Context(study, submitted.config, device, submitted.speeds, track=track, in_job=True)
    own = {key: value for key, value in config.items() if key not in OF_PROFILE}
    study = of_config(config_model.parse(own, name, line))
    if device is None:
        return Context(study, own, track=track)
    speeds = measured_speeds(study, RESULTS, device)
    check_fits(study, device, speeds)
    # Small runs that are missing share jobs, where the device says so.
    return Context(study, own, device, speeds, bundle_up(study, RESULTS, device, speeds), track)
