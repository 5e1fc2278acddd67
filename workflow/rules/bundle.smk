rule bundle:
    """Train the small runs in a bundle's list and evaluate them, in one job that shares its GPU among several at a time.

    The outputs of the runs are those of the rules rung, train and evaluate; the marker says that all of them are there.
    """
    input:
        bundle=ancient("results/bundles/{bundle}.json"),
        specs=ancient(specs_of_bundle),
        sets=ancient(sets_of_bundle),
        tokens=ancient(tokens_of_bundle),
        rates=ancient(lambda wildcards: inputs.rates_of_bundle(CONTEXT, wildcards.bundle)),
        weights=ancient(lambda wildcards: inputs.weights_of_bundle(CONTEXT, wildcards.bundle)),
    output:
        marker="results/bundles/{bundle}.done",
    log:
        "results/logs/bundle/{bundle}.log",
    benchmark:
        "results/logs/bundle/{bundle}.benchmark.tsv"
    priority: priority_of_bundle
    threads: threads_of_bundle
    resources:
        **requests.on_one_node(CONTEXT, needs_of_bundle, threads_of_bundle),
        at_once=processes_of_bundle,
    shell:
        "python -m scalinglaws bundle"
        " --list {input.bundle:q}"
        " --at-once {resources.at_once:q}"
        " --results results"
        " --device {resources.device:q}"
        " --limit-minutes {resources.runtime:q}"
        " --out {output.marker:q}"
        " > {log:q} 2>&1"
