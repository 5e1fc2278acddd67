def weights_of_run(wildcards):
    return inputs.weights_of_run(CONTEXT, wildcards.run)


def weights_of_trunk(wildcards):
    return inputs.weights_of_trunk(CONTEXT, wildcards.trunk, int(wildcards.step))


def weights_of_bundle(wildcards):
    return inputs.weights_of_bundle(CONTEXT, wildcards.bundle)


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
    wildcard_constraints:
        weights=r"[^/]+",
    shell:
        "python -m scalinglaws weights --spec {input.spec:q} --out results/weights/{wildcards.weights:q} > {log:q} 2>&1"
