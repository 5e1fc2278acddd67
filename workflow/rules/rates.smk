rule rates:
    """Fit the rule c·N^a for the learning rate of other runs to the runs of a sweep, when these are there.

    It is made once: every input is ancient, and there are no params. How the rule is fitted is part of the sweep's id.
    """
    input:
        sweep=ancient("results/rates/sweeps/{sweep}.json"),
        runs=ancient(lambda wildcards: inputs.runs_of_sweep(CONTEXT, wildcards.sweep)),
    output:
        rule="results/rates/{sweep}.json",
    log:
        "results/logs/rates/{sweep}.log",
    benchmark:
        "results/logs/rates/{sweep}.benchmark.tsv"
    wildcard_constraints:
        sweep=r"[0-9a-f]+",
    priority: order.priority_of_rates(CONTEXT, AT_ONCE)
    shell:
        "python -m scalinglaws rates"
        " --sweep {input.sweep:q}"
        " --results results"
        " --out {output.rule:q}"
        " --sums"
        " > {log:q} 2>&1"
