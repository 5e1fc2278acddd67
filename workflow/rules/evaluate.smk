localrules:
    evaluation_set,
    runs,


rule runs:
    """A target: every run trained and evaluated, without tables, fits and figures."""
    input:
        runs_of_study(),
        evaluations_of_study(),


rule evaluation_set:
    """The token folders that a run is evaluated on, for jobs that start after config.yaml has changed."""
    output:
        "results/evals/sets/{set}.txt",
    log:
        "results/logs/evaluate/{set}.log",
    priority: FIRST
    params:
        folders=lambda wildcards: STUDY.evaluation_sets[wildcards.set],
    shell:
        "printf '%s\\n' {params.folders:q} > {output:q}.part 2> {log:q} && mv {output:q}.part {output:q}"


rule evaluate:
    """Loss of a run on other corpora, and by position in the context; corpora that were done before are not done again."""
    input:
        set=ancient("results/evals/sets/{set}.txt"),
        metrics=ancient("results/runs/{run}/metrics.json"),
        weights=ancient("results/runs/{run}/model.safetensors"),
        tokens=ancient(tokens_of_set),
    output:
        "results/evals/{run}/{set}.json",
    log:
        "results/logs/evaluate/{run}-{set}.log",
    benchmark:
        "results/logs/evaluate/{run}-{set}.benchmark.tsv"
    resources:
        **resources_of_job(needs_of_evaluation),
    shell:
        "python -m scalinglaws evaluate --run results/runs/{wildcards.run:q} --tokens results/tokens --set {input.set:q}"
        " --out {output:q} > {log:q} 2>&1"
