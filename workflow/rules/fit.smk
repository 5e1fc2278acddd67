rule fit:
    """Fit a law to the losses that belong to it, with intervals by a bootstrap over trunks."""
    input:
        runs="results/tables/runs.parquet",
        curves="results/tables/curves.parquet",
        critical=critical_batch_of,
        code=modules("laws/*.py"),
    output:
        "results/fits/{law}.json",
    log:
        "results/logs/fit/{law}.log",
    benchmark:
        "results/logs/fit/{law}.benchmark.tsv"
    params:
        objective=STUDY.fits.objective,
        delta=STUDY.fits.delta,
        bootstrap=STUDY.fits.bootstrap,
        seed=STUDY.fits.seed,
        critical=lambda wildcards, input: f"--critical-batch={input.critical}" if input.critical else "",
    shell:
        "python -m scalinglaws fit --law {wildcards.law:q} --table {input.runs:q} --curves {input.curves:q} {params.critical:q}"
        " --objective {params.objective} --delta {params.delta} --bootstrap {params.bootstrap} --seed {params.seed}"
        " --allow-empty --out {output:q} > {log:q} 2>&1"


rule exponents:
    """Fitted exponents beside the published ones."""
    input:
        fits=expand("results/fits/{law}.json", law=LAWS),
        code=modules("report/exponents.py", "figures/shared/fit_json.py", "tables/*.py"),
    output:
        fits="results/tables/fits.parquet",
        parquet="results/tables/exponents.parquet",
        markdown=report("results/tables/exponents.md", caption="../report/exponents.rst", category="Exponents"),
    log:
        "results/logs/exponents.log",
    benchmark:
        "results/logs/exponents.benchmark.tsv"
    params:
        laws=LAWS,
    shell:
        "python -m scalinglaws exponents --fits results/fits --laws {params.laws:q} --out-fits {output.fits:q}"
        " --out-parquet {output.parquet:q} --out-md {output.markdown:q} > {log:q} 2>&1"
