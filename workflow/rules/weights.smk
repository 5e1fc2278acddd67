rule weights:
    """Fetch published weights that runs begin from: config.json, which is written last, and the .safetensors files beside it.

    The files come from the hub of Hugging Face, at the commit in the spec, and are checked by their sha256.
    """
    input:
        spec=ancient("results/weights/{weights}/spec.json"),
    output:
        config="results/weights/{weights}/config.json",
    log:
        "results/logs/weights/{weights}.log",
    benchmark:
        "results/logs/weights/{weights}.benchmark.tsv"
    shell:
        "python -m scalinglaws weights --spec {input.spec:q} --out results/weights/{wildcards.weights:q} > {log:q} 2>&1"
