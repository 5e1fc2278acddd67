"""A scaling-law study of language models: corpus, tokens, a grid of trainings, evaluation, tables, fits, figures."""


report: "workflow/report/workflow.rst"


include: "workflow/rules/config.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/tokenize.smk"
include: "workflow/rules/rates.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/bundle.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/fit.smk"
include: "workflow/rules/forecast.smk"
include: "workflow/rules/figures.smk"


localrules:
    all,


rule all:
    """Every output of the study. Runs are named, not figures alone: a new point is trained even where metadata is lost."""
    default_target: True
    input:
        runs=targets.runs(CONTEXT),
        evaluations=targets.evaluations(CONTEXT),
        manifest=targets.manifest(CONTEXT),
        tables=targets.tables(CONTEXT),
        exponents=targets.exponents(CONTEXT),
        forecasts=targets.forecasts(CONTEXT),
        scores=targets.scores(CONTEXT),
        figures=targets.figures(CONTEXT),
        report=targets.report(CONTEXT),
