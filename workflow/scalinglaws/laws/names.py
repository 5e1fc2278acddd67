"""The laws by name and the runs that they need: what a study must know of them, without the libraries that fit them."""

# Which runs a law needs: decayed budgets on all the data (size), early-stopped runs on parts of it (data), several batch sizes
# of one model size (batch), budgets of more than one epoch (repetition).
LAW_KINDS = {
    "power-n": "size",
    "power-n-offset": "size",
    "power-d": "data",
    "power-d-offset": "data",
    "power-c": "size",
    "power-c-offset": "size",
    "power-cmin": "batch",
    "power-cmin-offset": "batch",
    "envelope": "size",
    "envelope-offset": "size",
    "kaplan-nd": "data",
    "kaplan-ns": "batch",
    "chinchilla": "size",
    "overtraining": "size",
    "repetition": "repetition",
    "isoflop": "size",
    "critical-batch": "batch",
}
# Those of S_min and C_min, which follow from the study's own B_crit(L).
AT_SMALL_BATCHES = ("power-cmin", "power-cmin-offset", "kaplan-ns")
FEWEST_BATCHES = 3
