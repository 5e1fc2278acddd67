localrules:
    figures,


rule figures:
    """Every figure of the study: a target to ask for by name, as `scalinglaws draw` does."""
    input:
        figures=targets.figures(CONTEXT),


rule figure:
    """Draw one figure from the tables and fits, as SVG and as PNG: the same tables give the same bytes."""
    input:
        tables=lambda wildcards: inputs.tables_of_figure(CONTEXT, wildcards.figure),
        fits=lambda wildcards: inputs.fits_of_figure(CONTEXT, wildcards.figure),
        code=lambda wildcards: inputs.modules_of_figure(wildcards.figure),
    output:
        svg=report(f"{STUDY}/figures/{{figure}}.svg", caption="../report/figure.rst", category="Figures"),
        png=f"{STUDY}/figures/{{figure}}.png",
    log:
        f"{STUDY}/logs/figures/{{figure}}.log",
    benchmark:
        f"{STUDY}/logs/figures/{{figure}}.benchmark.tsv"
    params:
        caption=lambda wildcards: inputs.caption_of_figure(wildcards.figure),
        laws=lambda wildcards: ",".join(inputs.laws_of_figure(CONTEXT, wildcards.figure)),
    shell:
        "python -m scalinglaws figure"
        " --name {wildcards.figure:q}"
        f" --tables {STUDY}/tables"
        f" --fits {STUDY}/fits"
        " --laws={params.laws:q}"
        " --out-svg {output.svg:q}"
        " --out-png {output.png:q}"
        " --sums"
        " > {log:q} 2>&1"


rule report_md:
    """Write the study on one page: what was run, the paper's tables with its numbers, its claims, reasons to doubt, figures."""
    input:
        runs=f"{STUDY}/tables/runs.parquet",
        curves=f"{STUDY}/tables/curves.parquet",
        evals=f"{STUDY}/tables/evals.parquet",
        warnings=f"{STUDY}/tables/warnings.json",
        scores=targets.scores(CONTEXT),
        fits=targets.fits(CONTEXT),
        code=inputs.modules_of_report(),
    output:
        page=report(f"{STUDY}/report.md", caption="../report/report.rst", category="Report"),
    log:
        f"{STUDY}/logs/report.log",
    benchmark:
        f"{STUDY}/logs/report.benchmark.tsv"
    params:
        study=CONTEXT.study.name,
        laws=",".join(CONTEXT.laws),
        kinds=",".join(sorted(CONTEXT.study.kinds)),
        drawn=",".join(CONTEXT.figures),
        titles=inputs.titles_of_figures(),  # they stand in the figures' modules, which are no input: an edit redraws one figure
    shell:
        "python -m scalinglaws report"
        " --study {params.study:q}"
        f" --tables {STUDY}/tables"
        f" --fits {STUDY}/fits"
        f" --figures {STUDY}/figures"
        " --laws={params.laws:q}"
        " --kinds={params.kinds:q}"
        " --drawn={params.drawn:q}"
        " --out {output.page:q}"
        " --sums"
        " > {log:q} 2>&1"
