rule fit:
    """Fit one law to the losses that belong to it, with intervals from a bootstrap over trunks."""
    input:
        runs=lambda wildcards: f"{CONTEXT.tables_of_law(wildcards.law)}/runs.parquet",
        curves=lambda wildcards: f"{CONTEXT.tables_of_law(wildcards.law)}/curves.parquet",
        critical=lambda wildcards: inputs.critical_batch_of(CONTEXT, wildcards.law),
        evals=lambda wildcards: inputs.losses_of_law(CONTEXT, wildcards.law),
        code=inputs.modules("laws/*.py", *inputs.READERS),
    output:
        fit=f"{STUDY}/fits/{{law}}.json",
    log:
        f"{STUDY}/logs/fit/{{law}}.log",
    benchmark:
        f"{STUDY}/logs/fit/{{law}}.benchmark.tsv"
    priority: lambda wildcards: order.priority_of_fit(CONTEXT, wildcards.law, AT_ONCE)
    params:
        objective=CONTEXT.study.fits.objective,
        delta=CONTEXT.study.fits.delta,
        residuals=CONTEXT.study.fits.residuals,
        bootstrap=CONTEXT.study.fits.bootstrap,
        seed=CONTEXT.study.fits.seed,
        critical=lambda wildcards, input: f"--critical-batch={input.critical}" if input.critical else "",
        evals=lambda wildcards, input: f"--evals={input.evals}" if input.evals else "",
        at=lambda wildcards: inputs.places_of_law(CONTEXT, wildcards.law),
    shell:
        "python -m scalinglaws fit"
        " --law {wildcards.law:q}"
        " --table {input.runs:q}"
        " --curves {input.curves:q}"
        " {params.critical:q}"
        " {params.evals:q}"
        " {params.at:q}"
        " --objective {params.objective:q}"
        " --delta {params.delta:q}"
        " --residuals {params.residuals:q}"
        " --bootstrap {params.bootstrap:q}"
        " --seed {params.seed:q}"
        " --allow-empty"
        " --out {output.fit:q}"
        " --sums"
        " > {log:q} 2>&1"


rule exponents:
    """Put the fitted exponents beside the published ones, as tables and as Markdown."""
    input:
        fits=targets.fits(CONTEXT),
        code=inputs.modules("report/exponents.py", "figures/shared/fit_json.py", "tables/*.py", "train/metrics.py"),
    output:
        fits=f"{STUDY}/tables/fits.parquet",
        parquet=f"{STUDY}/tables/exponents.parquet",
        markdown=report(f"{STUDY}/tables/exponents.md", caption="../report/exponents.rst", category="Exponents"),
    log:
        f"{STUDY}/logs/exponents.log",
    benchmark:
        f"{STUDY}/logs/exponents.benchmark.tsv"
    params:
        laws=",".join(CONTEXT.laws),
    shell:
        "python -m scalinglaws exponents"
        f" --fits {STUDY}/fits"
        " --laws={params.laws:q}"
        " --out-fits {output.fits:q}"
        " --out-parquet {output.parquet:q}"
        " --out-md {output.markdown:q}"
        " --sums"
        " > {log:q} 2>&1"
