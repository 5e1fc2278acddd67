rule corpus:
    """Cut text into passages: from the spec of a corpus to its three splits and a report of its duplicates.

    The pinned sources are downloaded where they are missing, and checked. A corpus's id is the hash of its spec.
    """
    input:
        spec=ancient("results/corpora/{corpus}/spec.json"),
    output:
        train="results/corpora/{corpus}/train.jsonl.zst",
        validation="results/corpora/{corpus}/validation.jsonl.zst",
        test="results/corpora/{corpus}/test.jsonl.zst",
        report="results/corpora/{corpus}/report.json",
    log:
        "results/logs/corpus/{corpus}.log",
    benchmark:
        "results/logs/corpus/{corpus}.benchmark.tsv"
    threads: 2
    shell:
        "python -m scalinglaws corpus"
        " --spec {input.spec:q}"
        " --out results/corpora/{wildcards.corpus:q}"
        " --downloads results/downloads"
        " --workers {threads}"
        " > {log:q} 2>&1"
