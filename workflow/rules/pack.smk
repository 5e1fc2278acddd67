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
    threads: threads_of_pack
    resources:
        gres=lambda wildcards: gres(needs_of_pack(wildcards)),
        mem_mb=lambda wildcards, attempt: needs_of_pack(wildcards, attempt).mem_mb,
        runtime=lambda wildcards, attempt: needs_of_pack(wildcards, attempt).minutes,
        cpus_per_task=threads_of_pack,
        processes=lambda wildcards: needs_of_pack(wildcards).gpus,
        at_once=lambda wildcards, attempt: pack_of(wildcards.pack).processes(attempt),
    shell:
        "python -m scalinglaws pack --list {input.pack:q} --at-once {resources.at_once} --results results --out {output:q}"
        " > {log:q} 2>&1"
