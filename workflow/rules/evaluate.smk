localrules:
    runs,


rule runs:
    """Every run, trained and evaluated, without tables, fits and figures: a target to ask for by name."""
    input:
        runs=targets.runs(CONTEXT),
        evaluations=targets.evaluations(CONTEXT),


rule evaluate:
    """Measure the loss of a trained run on the corpora of a set, as a mean and by position in the context.

    Losses that an earlier evaluation of the run has measured are not measured again.
    """
    input:
        set=ancient("results/evals/sets/{set}.txt"),
        run=ancient(run_of_evaluation),
        tokens=ancient(tokens_of_set),
    output:
        losses="results/evals/{run}/{set}.json",
    log:
        "results/logs/evaluate/{run}-{set}.log",
    benchmark:
        "results/logs/evaluate/{run}-{set}.benchmark.tsv"
    resources:
        **requests.on_one_node(CONTEXT, needs_of_evaluation),
    shell:
        "python -m scalinglaws evaluate"
        " --run results/runs/{wildcards.run:q}"
        " --tokens results/tokens"
        " --set {input.set:q}"
        " --out {output.losses:q}"
        " --device {resources.device:q}"
        " > {log:q} 2>&1"
