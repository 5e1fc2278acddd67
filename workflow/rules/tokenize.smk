rule tokenizer:
    """Train a BPE on the training split of its corpus, or copy a given tokenizer.json after a check of its hash."""
    input:
        spec=ancient("results/tokenizers/{tokenizer}/spec.json"),
        corpus=ancient(corpus_of_tokenizer),
    output:
        tokenizer="results/tokenizers/{tokenizer}/tokenizer.json",
    log:
        "results/logs/tokenizer/{tokenizer}.log",
    benchmark:
        "results/logs/tokenizer/{tokenizer}.benchmark.tsv"
    threads: 2
    shell:
        "python -m scalinglaws tokenizer"
        " --spec {input.spec:q}"
        " --corpora results/corpora"
        " --out {output.tokenizer:q}"
        " > {log:q} 2>&1"


rule tokenize:
    """Turn the passages of a corpus into flat files of token ids, one for each split, and write their counts (meta.json).

    The token files of a mixture are made of those of its corpora, whose passages take turns.
    """
    input:
        text=ancient(text_of_tokens),
    output:
        meta="results/tokens/{corpus}/{tokenizer}/meta.json",
        bins=expand("results/tokens/{{corpus}}/{{tokenizer}}/{split}.bin", split=["train", "validation", "test"]),
        starts=expand("results/tokens/{{corpus}}/{{tokenizer}}/{split}.starts.npy", split=["validation", "test"]),
    log:
        "results/logs/tokenize/{corpus}-{tokenizer}.log",
    benchmark:
        "results/logs/tokenize/{corpus}-{tokenizer}.benchmark.tsv"
    threads: 2
    shell:
        "python -m scalinglaws tokenize"
        " --corpus results/corpora/{wildcards.corpus:q}"
        " --tokenizer results/tokenizers/{wildcards.tokenizer:q}/tokenizer.json"
        " --out results/tokens/{wildcards.corpus:q}/{wildcards.tokenizer:q}"
        " --workers {threads}"
        " > {log:q} 2>&1"
