rule pack:
    """Train many small runs, and evaluate them, in one job: several at a time on its GPU."""
    input:
        pack=ancient("results/packs/{pack}.json"),
        specs=ancient(specs_of_pack),
        sets=ancient(sets_of_pack),
        tokens=ancient(tokens_of_pack),
    output:
        "results/packs/{pack}.done",
    log:
        "results/logs/pack/{pack}.log",
    benchmark:
        "results/logs/pack/{pack}.benchmark.tsv"
    priority: priority_of_pack
    threads: threads_of_pack
    resources:
        **resources_of_job(needs_of_pack, threads_of_pack),
        at_once=lambda wildcards, attempt: pack_of(wildcards.pack).processes(attempt),
    shell:
        "python -m scalinglaws pack --list {input.pack:q} --at-once {resources.at_once} --results results --out {output:q}"
        " > {log:q} 2>&1"
