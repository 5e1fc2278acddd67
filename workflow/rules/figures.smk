rule figure:
    """Draw a figure from the tables and fits: the same tables give the same bytes."""
    input:
        tables=tables_of_figure,
        fits=fits_of_figure,
        code=modules_of_figure,
    output:
        svg=report("results/figures/{figure}.svg", caption="../report/figure.rst", category="Figures"),
        png="results/figures/{figure}.png",
    log:
        "results/logs/figures/{figure}.log",
    benchmark:
        "results/logs/figures/{figure}.benchmark.tsv"
    params:
        caption=lambda wildcards: registry.FIGURES[wildcards.figure].caption,
        laws=lambda wildcards: [law for law in registry.FIGURES[wildcards.figure].laws if law in LAWS],
    shell:
        "python -m scalinglaws figure --name {wildcards.figure:q} --tables results/tables --fits results/fits --laws {params.laws:q}"
        " --out-svg {output.svg:q} --out-png {output.png:q} > {log:q} 2>&1"


rule report_md:
    """The study on one page: what was run, the paper's tables with its numbers, flags, figures."""
    input:
        runs="results/tables/runs.parquet",
        fits=expand("results/fits/{law}.json", law=LAWS),
        code=modules_of_report(),
    output:
        report("results/report.md", caption="../report/report.rst", category="Report"),
    log:
        "results/logs/report.log",
    benchmark:
        "results/logs/report.benchmark.tsv"
    params:
        laws=LAWS,
        kinds=sorted(STUDY.kinds),
        drawn=names_of_figures(),
        titles=[figure.title for figure in registry.FIGURES.values()],  # of their modules, which are no input: one edit, one figure
    shell:
        "python -m scalinglaws report --tables results/tables --fits results/fits --figures results/figures"
        " --laws {params.laws:q} --kinds {params.kinds:q} --drawn {params.drawn:q} --out {output:q} > {log:q} 2>&1"
