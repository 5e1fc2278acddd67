localrules:
    manifest,


rule manifest:
    """The list of runs, in a file named by it: a point removed is noticed even where Snakemake's metadata is lost."""
    output:
        MANIFEST,
    log:
        "results/logs/manifest.log",
    params:
        kept=KEPT_MANIFEST,
    shell:
        "cp {params.kept:q} {output:q}.part 2> {log:q} && mv {output:q}.part {output:q}"


rule aggregate:
    """Parquet tables of all runs of the study, and of those made elsewhere."""
    input:
        manifest=MANIFEST,
        runs=runs_of_study(),
        evaluations=evaluations_of_study(),
        external=[table.path for table in STUDY.external],
        code=modules("tables/*.py", "train/metrics.py"),
    output:
        expand("results/tables/{table}.parquet", table=TABLES),
        "results/tables/warnings.json",
    log:
        "results/logs/aggregate.log",
    benchmark:
        "results/logs/aggregate.benchmark.tsv"
    params:
        external=[table.model_dump_json() for table in STUDY.external],
        corpora=json.dumps(STUDY.corpus_names, sort_keys=True),
    shell:
        "python -m scalinglaws aggregate --manifest {input.manifest:q} --results results --external {params.external:q}"
        " --corpora {params.corpora:q}"
        " > {log:q} 2>&1"
