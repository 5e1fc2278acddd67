localrules:
    manifest,


rule manifest:
    """The list of runs, in a file named by it: a point removed is noticed even where Snakemake's metadata is lost."""
    output:
        MANIFEST,
    params:
        lines=STUDY.manifest,
    log:
        "results/logs/manifest.log",
    shell:
        "printf '%s\\n' {params.lines:q} > {output:q} 2> {log:q}"


rule aggregate:
    """Parquet tables of all runs of the study, and of those made elsewhere."""
    input:
        manifest=MANIFEST,
        metrics=expand(RUN + "/metrics.json", run=STUDY.runs),
        evaluations=evaluations_of_study(),
        external=[table.path for table in STUDY.external],
        code=modules("tables.py", "aggregate.py"),
    output:
        expand("results/tables/{table}.parquet", table=TABLES),
    params:
        external=[table.model_dump_json() for table in STUDY.external],
    log:
        "results/logs/aggregate.log",
    benchmark:
        "results/logs/aggregate.benchmark.tsv"
    shell:
        "python -m scalinglaws aggregate --manifest {input.manifest:q} --results results --external {params.external:q}"
        " > {log:q} 2>&1"
