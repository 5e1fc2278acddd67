rule rung:
    """Train a trunk on from the rung below, or from nothing, to the rung at a step: a checkpoint that its runs start from."""
    input:
        spec=ancient("results/trunks/{trunk}/spec.json"),
        tokens=ancient(tokens_of_trunk),
        weights=ancient(lambda wildcards: inputs.weights_of_trunk(CONTEXT, wildcards.trunk, int(wildcards.step))),
        below=ancient(rung_below),
        forecasts=ancient(forecasts_of_rung),
        rate=ancient(lambda wildcards: inputs.rate_of_trunk(CONTEXT, wildcards.trunk, int(wildcards.step))),
    output:
        checkpoint="results/trunks/{trunk}/step{step}.safetensors",
    log:
        "results/logs/rung/{trunk}-step{step}.log",
    benchmark:
        "results/logs/rung/{trunk}-step{step}.benchmark.tsv"
    priority: priority_of_rung
    threads: threads_of_rung
    resources:
        **requests.on_nodes(CONTEXT, needs_of_rung, threads_of_rung),
    shell:
        "python -m scalinglaws rung"
        " --spec {input.spec:q}"
        " --tokens results/tokens"
        " --weights results/weights"
        " --step {wildcards.step:q}"
        " --out {output.checkpoint:q}"
        " --processes {resources.processes:q}"
        " --nodes {resources.hosts:q}"
        " --device {resources.device:q}"
        " --limit-minutes {resources.runtime:q}"
        " > {log:q} 2>&1"


rule train:
    """Train a run from the last rung below its decay, or from nothing, and write its losses, its curve and its weights.

    The run is the one in its spec, whatever config.yaml says by the time that the job starts.
    """
    input:
        spec=ancient("results/runs/{run}/spec.json"),
        tokens=ancient(tokens_of_run),
        weights=ancient(lambda wildcards: inputs.weights_of_run(CONTEXT, wildcards.run)),
        start=ancient(start_of_run),
        forecast=ancient(forecast_of_run),
        rate=ancient(lambda wildcards: inputs.rate_of_run(CONTEXT, wildcards.run)),
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
        **requests.on_nodes(CONTEXT, needs_of_run, threads_of_run),
    shell:
        "python -m scalinglaws train"
        " --spec {input.spec:q}"
        " --tokens results/tokens"
        " --trunks results/trunks"
        " --weights results/weights"
        " --out results/runs/{wildcards.run:q}"
        " --processes {resources.processes:q}"
        " --nodes {resources.hosts:q}"
        " --device {resources.device:q}"
        " --limit-minutes {resources.runtime:q}"
        " > {log:q} 2>&1"
