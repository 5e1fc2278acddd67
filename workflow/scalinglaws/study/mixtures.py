"""Mixtures of corpora, by tokens: their specs from a config, and how many tokens they have."""

from __future__ import annotations

from collections.abc import Mapping

from scalinglaws.common.errors import StudyError
from scalinglaws.common.nearest import proposal
from scalinglaws.common.numbers import round_float
from scalinglaws.study.config import Config, MixtureConfig
from scalinglaws.study.spec import CorpusSpec, MixtureSpec, TokenizerSpec

LEAST_SHARE = 1e-6  # of a corpus in a mixture: shares are rounded to six digits


def mixtures_of(config: Config) -> dict[str, MixtureConfig]:
    """Return the mixtures among the corpora of a config, by name."""
    return {name: text for name, text in config.corpora.items() if isinstance(text, MixtureConfig)}


def mixture_spec(
    name: str, mixture: MixtureConfig, corpora: Mapping[str, CorpusSpec], mixtures: Mapping[str, object]
) -> MixtureSpec:
    """Return the spec of a mixture, whose weights are divided by their sum and rounded as all numbers of specs.

    Parameters
    ----------
    name, mixture
        Its name in the config, for errors, and what the config says of it.
    corpora
        Specs of the corpora that can be mixed, by name.
    mixtures
        The names of all mixtures, of which none can be mixed again.

    Raises
    ------
    StudyError
        A source is no corpus or is a mixture, two of them are one text, or a share is too small to be told from none.
    """
    where, total = f"corpora.{name}.sources", sum(mixture.sources.values())
    found: dict[CorpusSpec, float] = {}
    first: dict[CorpusSpec, str] = {}
    for source, weight in mixture.sources.items():
        if source in mixtures:
            raise StudyError(f"{where}: {source} is a mixture itself: name the corpora that it is made of, with their weights")
        if source not in corpora:
            raise StudyError(f"{where}: {source} is not one of corpora: {proposal(source, corpora)}")
        spec = corpora[source]
        if spec in found:
            raise StudyError(f"{where}: {first[spec]} and {source} are one text: name it once, with the sum of the weights")
        found[spec], first[spec] = round_float(weight / total), source
        if found[spec] < LEAST_SHARE:
            raise StudyError(f"{where}.{source}: {weight:g} is less than {LEAST_SHARE:g} of the sum of the weights: leave it out")
    order = sorted(found, key=lambda spec: spec.id)
    return MixtureSpec(tuple(order), tuple(found[spec] for spec in order))


def end_of(
    spec: CorpusSpec | MixtureSpec, sizes: Mapping[CorpusSpec, Mapping[str, int]], split: str
) -> tuple[int, CorpusSpec] | None:
    """Return the tokens after which a mixture ends, and the corpus that has no more text there.

    Parameters
    ----------
    spec
        The mixture; a corpus is one of itself alone.
    sizes
        The tokens of each split of the corpora, or the most that there can be, as far as they are known.
    split
        The split: train, validation or test.

    Returns
    -------
    tuple or None
        The number of tokens, up to a passage of each corpus, and the corpus. None where the size of no corpus is known; where
        that of some is unknown, the mixture has at most so many.
    """
    ends = [(sizes[corpus][split] / weight, corpus) for corpus, weight in spec.shares.items() if split in sizes.get(corpus, {})]
    if not ends:
        return None
    end, first = min(ends, key=lambda pair: pair[0])
    return int(end * sum(spec.shares.values())), first


def ends_of_mixtures(
    config: Config,
    corpora: Mapping[str, CorpusSpec | MixtureSpec],
    tokenizers: Mapping[str, TokenizerSpec],
    limits: Mapping[tuple[str, str], Mapping[str, int]],
) -> dict[str, tuple[int, str]]:
    """Return where the training text of each mixture that runs are trained on ends, as far as sizes of its sources are known.

    Parameters
    ----------
    config
        The config, which has the names of the mixtures and of their sources.
    corpora, tokenizers
        The spec and the tokenizer of each corpus and mixture, by its name.
    limits
        The most tokens of each split, by (name of a corpus or mixture, id of a tokenizer), of those that runs use.

    Returns
    -------
    dict
        Name of a mixture -> its tokens, at most, and the name of the source that has no more text there.
    """
    out = {}
    for name, mixture in mixtures_of(config).items():
        own = {spec: source for source in mixture.sources if isinstance(spec := corpora[source], CorpusSpec)}
        sizes = {spec: limits.get((source, tokenizers[name].id), {}) for spec, source in own.items()}
        end = end_of(corpora[name], sizes, "train") if (name, tokenizers[name].id) in limits else None
        if end is not None:
            out[name] = (end[0], own[end[1]])
    return out
