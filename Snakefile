"""A scaling-law study of language models: corpus, tokens, a grid of trainings, evaluation, tables, fits, figures."""

# A job on a cluster node parses this file again. By then config.yaml may have changed or be half saved: there, nothing is
# read from it. A run's spec comes from its file, and the study from a copy of the config that the job was submitted with.
if not workflow.remote_exec:
    if not workflow.overwrite_configfiles:  # --configfile replaces config.yaml, it is not merged into it

        configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/tokenize.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/bundle.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/fit.smk"
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
        tables=targets.tables(),
        exponents=targets.exponents(CONTEXT),
        figures=targets.figures(CONTEXT),
        report=targets.report(CONTEXT),
