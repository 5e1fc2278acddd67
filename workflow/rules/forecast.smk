FORECASTING = ",".join(CONTEXT.forecasting)


use rule aggregate as aggregate_basis with:
    # Collect the runs that forecasts follow from into tables of their own, in a study with forecasts.
    #
    # Evaluations on other text are left out: no law takes them, and they come last. The fits of the laws of forecasts follow from
    # these tables, the forecasts from these fits, the runs that are forecast from the forecasts, and the tables of all runs, to
    # which the other laws are fitted, from those runs.
    input:
        manifest=targets.manifest(CONTEXT),
        runs=targets.runs(CONTEXT, CONTEXT.study.basis),
        external=[table.path for table in CONTEXT.study.external],
        code=inputs.modules("tables/*.py", "train/metrics.py"),
    output:
        tables=[f"{STUDY}/basis/{table}.parquet" for table in targets.TABLES],
        warnings=f"{STUDY}/basis/warnings.json",
    log:
        f"{STUDY}/logs/aggregate_basis.log",
    benchmark:
        f"{STUDY}/logs/aggregate_basis.benchmark.tsv"
    priority: order.priority_of_forecasts(CONTEXT, AT_ONCE)
    params:
        folder=lambda wildcards, output: os.path.dirname(output.warnings),
        alone="--basis-alone",
        external=inputs.external_tables(CONTEXT),
        corpora=inputs.names_of_corpora(CONTEXT),


rule forecast:
    """Write what the fits of other runs say about the loss of a run, before it is trained.

    It is made once: every input is ancient, and there are no params. What later fits say is registered by the rule score.
    """
    input:
        spec=ancient("results/runs/{run}/spec.json"),
        sources=ancient(lambda wildcards: inputs.sources_of_forecast(CONTEXT, wildcards.run)),
    output:
        forecast=f"{STUDY}/forecasts/{{run}}.json",
    log:
        f"{STUDY}/logs/forecast/{{run}}.log",
    benchmark:
        f"{STUDY}/logs/forecast/{{run}}.benchmark.tsv"
    priority: order.priority_of_forecasts(CONTEXT, AT_ONCE)
    shell:
        "python -m scalinglaws register"
        " --spec {input.spec:q}"
        f" --table {CONTEXT.basis}/runs.parquet"
        f" --fits {STUDY}/fits"
        f" --laws={FORECASTING}"
        f" --forecasts {STUDY}/forecasts"
        " --results results"
        " > {log:q} 2>&1"


rule score:
    """Compare the forecasts with the losses that came out, after those that later fits make are registered beside the first."""
    input:
        manifest=targets.manifest(CONTEXT),
        runs=f"{STUDY}/tables/runs.parquet",
        fitted=f"{CONTEXT.basis}/runs.parquet",
        fits=targets.forecasting_fits(CONTEXT),
        forecasts=targets.forecasts(CONTEXT),
        code=inputs.modules("laws/registered.py", "laws/scored.py", "tables/schema.py", "tables/write.py", *inputs.READERS),
    output:
        table=f"{STUDY}/tables/forecasts.parquet",
    log:
        f"{STUDY}/logs/score.log",
    benchmark:
        f"{STUDY}/logs/score.benchmark.tsv"
    params:
        laws=FORECASTING,
    shell:
        "python -m scalinglaws score"
        " --manifest {input.manifest:q}"
        " --runs {input.runs:q}"
        " --table {input.fitted:q}"
        f" --fits {STUDY}/fits"
        " --laws={params.laws:q}"
        f" --forecasts {STUDY}/forecasts"
        " --out {output.table:q}"
        " --results results"
        " --sums"
        " > {log:q} 2>&1"
