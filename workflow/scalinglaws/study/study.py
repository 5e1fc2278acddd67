"""From a config to its runs: the specs of all points, their ids and trunks, and what each run starts from.

It imports neither torch nor a library of tables. What it refuses, it refuses before any job starts, with the key that is wrong.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from scalinglaws.common import files
from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.common.numbers import round_float
from scalinglaws.study.config import Config, CorpusConfig, ExternalRuns, FitsConfig, Ladder, Settings
from scalinglaws.study.forecasts import beyond_the_laws, forecast_runs
from scalinglaws.study.grid import points
from scalinglaws.study.init import Weights, weights_of
from scalinglaws.study.ladder import below, flops_per_step, has_ladder, needed_rungs, start_of
from scalinglaws.study.mixtures import ends_of_mixtures, mixture_spec, mixtures_of
from scalinglaws.study.questions import kinds
from scalinglaws.study.resolve import check_context, most_tokens, resolve
from scalinglaws.study.spec import CorpusSpec, MixtureSpec, RunSpec, Source, TokenizerSpec
from scalinglaws.study.sweep_runs import EXPERIMENT, Sweeps, check
from scalinglaws.study.sweeps import Sweep
from scalinglaws.study.text_sources import TEXT_SOURCES


@dataclass(frozen=True)
class Study:
    """The runs of a config by their ids, in a stable order.

    ``experiments`` holds the names of the experiments that ask for a run, ``evaluate`` the token folders that a
    run is evaluated on besides its own, and ``fitted`` the runs of experiments that laws are fitted to. ``forecasts`` are the
    runs whose loss the fits of the others state before they are trained. ``sweeps`` are those that give runs their learning rate,
    by id; their runs are in no experiment of the config, unless one names them as well.
    """

    name: str
    runs: dict[str, RunSpec]
    experiments: dict[str, tuple[str, ...]]
    fitted: frozenset[str]
    evaluate: dict[str, tuple[str, ...]]
    corpora: dict[str, CorpusSpec | MixtureSpec]
    tokenizers: dict[str, TokenizerSpec]
    ladder: Ladder
    fits: FitsConfig
    figures: tuple[str, ...] | Literal["all"]
    external: tuple[ExternalRuns, ...] = ()
    corpus_names: dict[str, str] = field(default_factory=dict)  # id -> name; the first of two names of one text
    epochs: dict[str, float] = field(default_factory=dict)  # runs whose budget exceeds one epoch of all the data -> epochs
    forecasts: frozenset[str] = frozenset()
    # name of a mixture -> the tokens after which it ends, at most, and the name of the corpus that ends there
    mixtures: dict[str, tuple[int, str]] = field(default_factory=dict)
    sweeps: dict[str, Sweep] = field(default_factory=dict)

    @cached_property
    def trunk_ids(self) -> dict[str, str]:
        """Return run -> the id of its trunk, for runs that have a ladder."""
        return {run: spec.trunk.id for run, spec in self.runs.items() if has_ladder(spec)}

    @cached_property
    def trunks(self) -> dict[str, RunSpec]:
        """Return the specs of the trunks by id."""
        return {trunk: self.runs[run].trunk for run, trunk in self.trunk_ids.items()}

    @cached_property
    def starts(self) -> dict[str, int]:
        """Return run -> the step of the rung that it starts from; 0 for a run that starts from nothing."""
        return {run: start_of(spec, self.ladder) for run, spec in self.runs.items()}

    @cached_property
    def rungs(self) -> dict[str, list[int]]:
        """Return trunk -> the steps of its rungs up to the last one that a run starts from, ascending."""
        return needed_rungs(self.runs, self.ladder)

    @cached_property
    def weights(self) -> dict[str, Weights]:
        """Return the published weights that runs begin from, by id."""
        found = (weights_of(spec) for spec in self.runs.values() if spec.init)
        return {weights.id: weights for weights in found if weights}

    def last_step(self, trunk: str) -> int:
        """Return the last step that any run trains from a trunk; 0 for a trunk that is not of the study."""
        return self._trunk_ends.get(trunk, (0, 0))[0]

    @cached_property
    def swept(self) -> frozenset[str]:
        """Return the runs of all sweeps."""
        return frozenset(run for sweep in self.sweeps.values() for run in sweep.runs)

    @cached_property
    def basis(self) -> frozenset[str]:
        """Return the runs that forecasts wait for: of the fitted runs those that the laws of forecasts can be fitted to."""
        return frozenset(run for run in self.fitted if not beyond_the_laws(self.runs[run]))

    @cached_property
    def forecasts_of_rungs(self) -> dict[tuple[str, int], tuple[str, ...]]:
        """Return (trunk, step) -> the forecast runs that train through this rung, for rungs that no other run needs."""
        ours = {run: spec for run, spec in self.runs.items() if run in self.forecasts}
        others = needed_rungs({run: spec for run, spec in self.runs.items() if run not in ours}, self.ladder)
        return {
            (trunk, step): tuple(run for run in ours if self.trunk_ids.get(run) == trunk and self.starts[run] >= step)
            for trunk, steps in needed_rungs(ours, self.ladder).items()
            for step in steps
            if step not in others.get(trunk, ())
        }

    @cached_property
    def evaluations(self) -> dict[str, str]:
        """Return run -> the name of the set of token folders that it is evaluated on."""
        return {run: name for run, folders in self.evaluate.items() if (name := evalset_id(folders))}

    @cached_property
    def evaluation_sets(self) -> dict[str, tuple[str, ...]]:
        """Return the token folders of each set that runs are evaluated on, by the name of the set."""
        return {name: self.evaluate[run] for run, name in self.evaluations.items()}

    @cached_property
    def manifest(self) -> list[str]:
        """Return one line of JSON for each run: which runs, of which experiments, the tables are made of."""
        rows = (
            {"run": run, "experiments": self.experiments[run], "fit": run in self.fitted, "forecast": run in self.forecasts}
            | {"evaluations": self.evaluations.get(run)}
            for run in self.runs
        )
        return [json.dumps(row, separators=(",", ":")) for row in rows]

    @cached_property
    def manifest_id(self) -> str:
        """Return ten hex digits of the sha256 of the manifest, which name its file."""
        return hashlib.sha256("\n".join(self.manifest).encode()).hexdigest()[:10]

    @cached_property
    def fitted_kinds(self) -> set[str]:
        """Return the questions (questions.py) that the runs of fitted experiments can answer."""
        fitted = kinds([spec for run, spec in self.runs.items() if run in self.fitted], transfer=False)
        fitted |= {"repetition"} if self.fitted & self.epochs.keys() else set()
        return fitted | ({"size"} if self.external else set())

    @cached_property
    def kinds(self) -> set[str]:
        """Return the questions (questions.py) that all runs can answer."""
        # Most studies fit laws to all their runs, and groups of a thousand runs are not made twice.
        found = self.fitted_kinds if len(self.fitted) == len(self.runs) else kinds(self.runs.values(), transfer=False)
        found = found | ({"repetition"} if self.epochs else set()) | ({"forecast"} if self.forecasts else set())
        return found | ({"size"} if self.external else set()) | ({"transfer"} if self.evaluation_sets else set())

    @cached_property
    def _trunk_ends(self) -> dict[str, tuple[int, int]]:
        """Return trunk -> (the last step that any run trains from it, FLOP of a step)."""
        ends: dict[str, tuple[int, int]] = {}
        for run, trunk in self.trunk_ids.items():
            spec = self.runs[run]
            ends[trunk] = (max(spec.steps, ends.get(trunk, (0, 0))[0]), flops_per_step(spec))
        return ends

    def priority_of_run(self, run: str) -> int:
        """Return GFLOP that a run trains from its rung to its end; jobs with the longest remaining path start first."""
        if run not in self.runs:
            return 0
        return (self.runs[run].steps - self.starts[run]) * flops_per_step(self.runs[run]) // 10**9

    def priority_of_rung(self, trunk: str, step: int) -> int:
        """Return GFLOP that are trained from the rung below ``step`` to the end of the trunk's longest run."""
        if trunk not in self._trunk_ends:
            return 0
        last, flops = self._trunk_ends[trunk]
        return (last - below(step, self.trunks[trunk].batch_tokens, self.ladder)) * flops // 10**9


def evalset_id(folders: tuple[str, ...]) -> str | None:
    """Return the name of a set of token folders, a hash of them; None for the empty set."""
    return hashlib.sha256("\n".join(folders).encode()).hexdigest()[:10] if folders else None


def corpus_spec(config: CorpusConfig) -> CorpusSpec:
    """Return the spec of a corpus, of which its name and its declared size are no part."""
    sources = tuple(
        Source(
            **{**source.model_dump(), "files": tuple(sorted(source.files)), "exclude": tuple(sorted(source.exclude))}
            | {"options": tuple(sorted(source.options.items())), "plugin": TEXT_SOURCES.plugin_of(source.kind)}
        )
        for source in config.sources
    )
    validation, test, corruption = (round_float(share) for share in (config.validation, config.test, config.corruption))
    return CorpusSpec(sources, config.passage_chars, validation, test, config.seed, corruption)


def text_specs(config: Config) -> dict[str, CorpusSpec | MixtureSpec]:
    """Return the spec of each corpus and mixture by its name. Raises StudyError for what cannot be mixed."""
    plain = {name: corpus_spec(text) for name, text in config.corpora.items() if isinstance(text, CorpusConfig)}
    mixed = {name: mixture_spec(name, text, plain, mixtures_of(config)) for name, text in mixtures_of(config).items()}
    return {name: plain[name] if name in plain else mixed[name] for name in config.corpora}


def tokenizer_spec(
    config: Config, corpus: CorpusSpec | MixtureSpec, corpora: dict[str, CorpusSpec | MixtureSpec]
) -> TokenizerSpec:
    """Return the tokenizer of a run on ``corpus``: a BPE is trained on the corpus that it names, else on the run's own."""
    t = config.tokenizer
    if t.kind == "bpe":
        if t.corpus is not None and t.corpus not in corpora:
            raise StudyError(f"tokenizer.corpus: {t.corpus} is not one of corpora: {proposal(t.corpus, corpora)}")
        return TokenizerSpec("bpe", t.n_vocab, corpora[t.corpus] if t.corpus else corpus)
    return TokenizerSpec(t.kind, None, None, t.path, t.sha256)


def build(config: Config, tokens_root: Path = Path("results/tokens")) -> Study:
    """Return every run of the study. Raises StudyError for what cannot be run, before anything is."""
    corpora = text_specs(config)
    names = {spec: name for name, spec in reversed(corpora.items())}
    declared = {
        text: c.bytes
        for name, c in config.corpora.items()
        if isinstance(c, CorpusConfig) and isinstance(text := corpora[name], CorpusSpec)
    }
    tokenizer_of = {name: tokenizer_spec(config, corpus, corpora) for name, corpus in corpora.items()}
    limits: dict[tuple[str, str], dict[str, int]] = {}  # the most tokens of the splits of a corpus; a file is read for it, once
    runs: dict[str, RunSpec] = {}
    sweeps = Sweeps()
    texts: dict[str, int | None] = {}  # token folder -> the most tokens of its training split, where that is known
    experiments: dict[str, list[str]] = {}
    evaluate: dict[str, set[str]] = {}
    fitted: set[str] = set()
    tokenizers: dict[str, TokenizerSpec] = {}
    for experiment, where, s in points(config):
        named = [s.corpus, *(config.experiments[experiment].evaluate)]
        for key, corpus in zip(["corpus", *["evaluate"] * (len(named) - 1)], named, strict=True):
            if corpus not in corpora:
                raise StudyError(f"{where}: {key}: {corpus} is not one of corpora: {proposal(corpus, corpora)}")
        if isinstance(mixture := corpora[s.corpus], MixtureSpec):  # which is measured on each of its sources
            named += [names[source] for source in mixture.shares]
        tokenizer = tokenizer_of[s.corpus]
        tokenizers[tokenizer.id] = tokenizer
        for corpus in named:
            if (corpus, tokenizer.id) not in limits:
                limits[corpus, tokenizer.id] = most_tokens(corpora[corpus], tokenizer, declared, tokens_root)
        on = (corpora[s.corpus], tokenizer, limits[s.corpus, tokenizer.id])
        sweep = sweeps.of(s, where, partial(_on_text, on))
        spec = resolve(s, *on, where, sweep)
        for corpus in named[1:]:
            check_context(s.n_ctx, corpus, limits[corpus, tokenizer.id], ("test",), where)
        run = spec.id
        runs[run] = spec
        texts[spec.tokens_id] = limits[s.corpus, tokenizer.id].get("train")
        if config.experiments[experiment].fit and not config.experiments[experiment].forecast:
            fitted.add(run)
        asked = experiments.setdefault(run, [])
        if experiment not in asked:
            asked.append(experiment)
        evaluate.setdefault(run, set()).update(f"{corpora[c].id}/{tokenizer.id}" for c in named[1:])
    epochs = _epochs(runs | sweeps.runs, texts)
    forecasts = forecast_runs(config, {run: (runs[run], experiments[run]) for run in sorted(runs)}, epochs)
    check(config, sweeps, {run: tuple(experiments[run]) for run in forecasts})
    for run, spec in sweeps.runs.items():
        runs.setdefault(run, spec)
        experiments.setdefault(run, []).append(EXPERIMENT)
        evaluate.setdefault(run, set())
    order = sorted(runs)
    return Study(
        name=config.study,
        runs={run: runs[run] for run in order},
        experiments={run: tuple(sorted(experiments[run])) for run in order},
        fitted=frozenset(fitted),
        evaluate={run: tuple(sorted(evaluate[run])) for run in order},
        corpora={spec.id: spec for spec in corpora.values()},
        tokenizers=tokenizers,
        ladder=config.ladder,
        fits=config.fits,
        figures="all" if config.figures == "all" else tuple(config.figures),
        external=tuple(config.external_runs),
        corpus_names={spec.id: name for name, spec in reversed(corpora.items())},
        epochs={run: epochs[run] for run in order if run in epochs},
        forecasts=forecasts,
        mixtures=ends_of_mixtures(config, corpora, tokenizer_of, limits),
        sweeps={sweep: sweeps.found[sweep] for sweep in sorted(sweeps.found)},
    )


def _on_text(text: tuple[CorpusSpec | MixtureSpec, TokenizerSpec, dict[str, int]], s: Settings, where: str) -> RunSpec:
    """Return the settings of a run on a corpus, with its tokenizer and the most tokens of its splits, as a spec."""
    return resolve(s, *text, where)


def _epochs(runs: dict[str, RunSpec], texts: dict[str, int | None]) -> dict[str, float]:
    """Return the epochs of the runs whose budget exceeds one epoch of all the data, from the most tokens of each text."""
    return {
        run: spec.tokens / limit
        for run, spec in runs.items()
        if spec.stop == "budget" and spec.dataset_tokens is None and (limit := texts[spec.tokens_id]) and spec.tokens > limit
    }


def keep(data: dict[str, Any], folder: Path) -> Path:
    """Write JSON values to a file named by its content, for jobs that start after config.yaml has changed; returns the file."""
    text = json.dumps(data, sort_keys=True, indent=1) + "\n"
    return files.keep(folder / f"{hashlib.sha256(text.encode()).hexdigest()[:10]}.json", text)


def empty() -> Study:
    """Return a study without runs, for a job on a cluster node that has no snapshot of its config."""
    return Study("", {}, {}, frozenset(), {}, {}, {}, Ladder(), FitsConfig(), ())
