"""Input functions of the rules. They pass wildcards on to the package's room dag/, where everything is decided and tested."""

import os
import sys

from snakemake.exceptions import WorkflowError

sys.path.insert(0, os.path.join(workflow.basedir, "workflow"))

from scalinglaws.common.errors import StudyError
from scalinglaws.dag import clock, context, inputs, kept, locks, order, profile, requests, targets, tidy

environment.prepare()
clock.forgive()
try:
    CONTEXT = context.of_snakemake(config, workflow.configfiles, workflow.config_settings.config, workflow.remote_exec)
    kept.write(CONTEXT)
except StudyError as error:
    raise WorkflowError(str(error)) from None
AT_ONCE = profile.jobs_at_once(workflow.resource_settings)
# results/studies/NAME: what belongs to the study alone. A name of a study needs no quotes in a shell command (study/names.py).
STUDY = str(CONTEXT.folder)
workflow.localrules(*config.get("local", []))  # a cluster's profile names the rules that may run where Snakemake does


onstart:
    try:
        profile.check_resources(workflow.resource_settings)
        locks.begin(CONTEXT.study, context.RESULTS)
    except StudyError as error:
        raise WorkflowError(str(error)) from None
    tidy.begin(CONTEXT)


onsuccess:
    tidy.end(CONTEXT)


onerror:
    tidy.end(CONTEXT)


wildcard_constraints:
    corpus=r"[^/]+",
    tokenizer=r"[^/]+",
    run=r"[^/]+",
    trunk=r"[^/]+",
    step=r"\d+",
    bundle=r"[^/]+",
    law=r"[^/]+",
    figure=r"[^/]+",
    weights=r"[^/]+",


# Inputs
def tokens_of_run(wildcards):
    return inputs.tokens_of_run(CONTEXT, wildcards.run)


def tokens_of_trunk(wildcards):
    return inputs.tokens_of_trunk(CONTEXT, wildcards.trunk, int(wildcards.step))


def tokens_of_set(wildcards):
    return inputs.tokens_of_set(CONTEXT, wildcards.run, wildcards.set)


def run_of_evaluation(wildcards):
    return inputs.run_of_evaluation(wildcards.run, wildcards.set)


def text_of_tokens(wildcards):
    return inputs.text_of_tokens(CONTEXT, wildcards.corpus, wildcards.tokenizer)


def corpus_of_tokenizer(wildcards):
    return inputs.corpus_of_tokenizer(CONTEXT, wildcards.tokenizer)


def rung_below(wildcards):
    return inputs.rung_below(CONTEXT, wildcards.trunk, int(wildcards.step))


def start_of_run(wildcards):
    return inputs.start_of_run(CONTEXT, wildcards.run)


def forecast_of_run(wildcards):
    return inputs.forecast_of_run(CONTEXT, wildcards.run)


def forecasts_of_rung(wildcards):
    return inputs.forecasts_of_rung(CONTEXT, wildcards.trunk, int(wildcards.step))


def specs_of_bundle(wildcards):
    return inputs.specs_of_bundle(CONTEXT, wildcards.bundle)


def sets_of_bundle(wildcards):
    return inputs.sets_of_bundle(CONTEXT, wildcards.bundle)


def tokens_of_bundle(wildcards):
    return inputs.tokens_of_bundle(CONTEXT, wildcards.bundle)


# What jobs ask for
def needs_of_run(wildcards, attempt=1):
    return requests.needs_of_run(CONTEXT, wildcards.run, attempt)


def needs_of_rung(wildcards, attempt=1):
    return requests.needs_of_rung(CONTEXT, wildcards.trunk, int(wildcards.step), attempt)


def needs_of_bundle(wildcards, attempt=1):
    return requests.needs_of_bundle(CONTEXT, wildcards.bundle, attempt)


def needs_of_evaluation(wildcards, attempt=1):
    return requests.needs_of_evaluation(CONTEXT, wildcards.run, wildcards.set, attempt)


def processes_of_bundle(wildcards, attempt):
    return CONTEXT.bundle(wildcards.bundle).processes(attempt)


def threads_of_run(wildcards):
    return requests.threads_of_run(CONTEXT, wildcards.run)


def threads_of_rung(wildcards):
    return requests.threads_of_rung(CONTEXT, wildcards.trunk, int(wildcards.step))


def threads_of_bundle(wildcards):
    return requests.threads_of_bundle(CONTEXT, wildcards.bundle)


def priority_of_run(wildcards):
    return order.priority_of_run(CONTEXT, wildcards.run, AT_ONCE)


def priority_of_rung(wildcards):
    return order.priority_of_rung(CONTEXT, wildcards.trunk, int(wildcards.step), AT_ONCE)


def priority_of_bundle(wildcards):
    return order.priority_of_bundle(CONTEXT, wildcards.bundle, AT_ONCE)
