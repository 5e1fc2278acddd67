rule bundle:
    """Train many small runs, and evaluate them, in one job: several at a time on its GPU."""
    input:
        bundle=ancient("results/bundles/{bundle}.json"),
        specs=ancient(specs_of_bundle),
        sets=ancient(sets_of_bundle),
        tokens=ancient(tokens_of_bundle),
    output:
        "results/bundles/{bundle}.done",
    log:
        "results/logs/bundle/{bundle}.log",
    benchmark:
        "results/logs/bundle/{bundle}.benchmark.tsv"
    priority: priority_of_bundle
    threads: threads_of_bundle
    resources:
        **resources_of_job(needs_of_bundle, threads_of_bundle),
        at_once=lambda wildcards, attempt: bundle_of(wildcards.bundle).processes(attempt),
    shell:
        "python -m scalinglaws bundle --list {input.bundle:q} --at-once {resources.at_once} --results results --out {output:q}"
        " > {log:q} 2>&1"
