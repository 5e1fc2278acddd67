localrules:
    run_spec,
    trunk_spec,


rule run_spec:
    """The spec enters training by this file, so that a queued job trains the run in its id whatever config.yaml says."""
    output:
        "results/runs/{run}/spec.json",
    log:
        "results/logs/train/{run}.spec.log",
    priority: FIRST
    params:
        spec=lambda wildcards: STUDY.runs[wildcards.run].canonical,
    shell:
        "printf '%s\\n' {params.spec:q} > {output:q}.part 2> {log:q} && mv {output:q}.part {output:q}"


rule trunk_spec:
    """The spec that all budgets of a model share."""
    output:
        "results/trunks/{trunk}/spec.json",
    log:
        "results/logs/rung/{trunk}.spec.log",
    priority: FIRST
    params:
        spec=lambda wildcards: STUDY.trunks[wildcards.trunk].canonical,
    shell:
        "printf '%s\\n' {params.spec:q} > {output:q}.part 2> {log:q} && mv {output:q}.part {output:q}"


rule rung:
    """Train a trunk on to its next rung."""
    input:
        spec=ancient("results/trunks/{trunk}/spec.json"),
        tokens=ancient(tokens_of_trunk),
        below=rung_below,
    output:
        "results/trunks/{trunk}/step{step}.safetensors",
    log:
        "results/logs/rung/{trunk}-step{step}.log",
    benchmark:
        "results/logs/rung/{trunk}-step{step}.benchmark.tsv"
    priority: priority_of_rung
    threads: threads_of_trunk
    resources:
        **resources_on_nodes(needs_of_rung, threads_of_trunk),
    shell:
        "python -m scalinglaws rung --spec {input.spec:q} --tokens results/tokens --step {wildcards.step} --out {output:q}"
        " --processes {resources.processes} --nodes {resources.hosts} > {log:q} 2>&1"


rule train:
    """Train a run: from the last rung below its decay where there is one, else from nothing."""
    input:
        spec=ancient("results/runs/{run}/spec.json"),
        tokens=ancient(tokens_of_run),
        start=start_of_run,
    output:
        metrics="results/runs/{run}/metrics.json",
        curve="results/runs/{run}/curve.jsonl",
        weights="results/runs/{run}/model.safetensors",
        timing="results/runs/{run}/timing.json",
    log:
        "results/logs/train/{run}.log",
    benchmark:
        "results/logs/train/{run}.benchmark.tsv"
    priority: priority_of_run
    threads: threads_of_run
    resources:
        **resources_on_nodes(needs_of_run, threads_of_run),
    shell:
        "python -m scalinglaws train --spec {input.spec:q} --tokens results/tokens --trunks results/trunks"
        " --out results/runs/{wildcards.run:q} --processes {resources.processes} --nodes {resources.hosts} > {log:q} 2>&1"
