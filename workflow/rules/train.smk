localrules:
    run_spec,
    trunk_spec,


rule run_spec:
    """The spec enters training by this file, so that a queued job trains the run in its id whatever config.yaml says."""
    output:
        RUN + "/spec.json",
    params:
        spec=lambda wildcards: spec.canonical(STUDY.runs[wildcards.run]),
    log:
        "results/logs/train/{run}.spec.log",
    shell:
        "printf '%s\\n' {params.spec:q} > {output:q} 2> {log:q}"


rule trunk_spec:
    """The spec that all budgets of a model share."""
    output:
        TRUNK + "/spec.json",
    params:
        spec=lambda wildcards: spec.canonical(STUDY.trunks[wildcards.trunk]),
    log:
        "results/logs/rung/{trunk}.spec.log",
    shell:
        "printf '%s\\n' {params.spec:q} > {output:q} 2> {log:q}"


rule rung:
    """Train a trunk on to its next rung."""
    input:
        spec=ancient(TRUNK + "/spec.json"),
        tokens=ancient(tokens_of_trunk),
        below=rung_below,
    output:
        TRUNK + "/step{step}.safetensors",
    log:
        "results/logs/rung/{trunk}-step{step}.log",
    benchmark:
        "results/logs/rung/{trunk}-step{step}.benchmark.tsv"
    threads: threads_of_trunk
    priority: priority_of_rung
    shell:
        "python -m scalinglaws rung --spec {input.spec:q} --tokens results/tokens --step {wildcards.step} --out {output:q}"
        " > {log:q} 2>&1"


rule train:
    """Train a run: from the last rung below its decay where there is one, else from nothing."""
    input:
        spec=ancient(RUN + "/spec.json"),
        tokens=ancient(tokens_of_run),
        start=start_of_run,
    output:
        metrics=RUN + "/metrics.json",
        curve=RUN + "/curve.jsonl",
        weights=RUN + "/model.safetensors",
        timing=RUN + "/timing.json",
    log:
        "results/logs/train/{run}.log",
    benchmark:
        "results/logs/train/{run}.benchmark.tsv"
    threads: threads_of_run
    priority: priority_of_run
    shell:
        "python -m scalinglaws train --spec {input.spec:q} --tokens results/tokens --trunks results/trunks"
        " --out results/runs/{wildcards.run:q} > {log:q} 2>&1"
