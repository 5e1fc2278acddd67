rule aggregate:
    """Collect the runs of the study, and those made elsewhere, into Parquet tables.

    The manifest lists the runs, and its name is a hash of the list: when a point is removed, the tables are made again.
    """
    input:
        manifest=targets.manifest(CONTEXT),
        runs=targets.runs(CONTEXT),
        evaluations=targets.evaluations(CONTEXT),
        external=[table.path for table in CONTEXT.study.external],
        code=inputs.modules("tables/*.py", "train/metrics.py"),
    output:
        tables=targets.tables(CONTEXT),
        warnings=f"{STUDY}/tables/warnings.json",
    log:
        f"{STUDY}/logs/aggregate.log",
    benchmark:
        f"{STUDY}/logs/aggregate.benchmark.tsv"
    params:
        folder=lambda wildcards, output: os.path.dirname(output.warnings),
        alone="",
        external=inputs.external_tables(CONTEXT),
        corpora=inputs.names_of_corpora(CONTEXT),
    shell:
        "python -m scalinglaws aggregate"
        " --manifest {input.manifest:q}"
        " --results results"
        " --out {params.folder:q}"
        " {params.alone:q}"
        " --external {params.external:q}"
        " --corpora {params.corpora:q}"
        " > {log:q} 2>&1"
