"""What each column of the Parquet tables holds, and its unit: sentences for the reference pages.

A column that is not in ``COLUMNS`` holds the setting of the same name, which ``study/describe.py`` describes.
"""

from __future__ import annotations

from scalinglaws.study.describe import KEYS

# What the tables are, by name.
TABLES = {
    "runs": "The table of runs has a row for each run: what it is, and how it ended.",
    "curves": "The table of learning curves has a row for each point of a trunk or of a run's own part after it.",
    "evals": "The table of evaluations has the loss of each run on each corpus, as a mean and at each position of the context.",
    "timings": "The table of timings says how fast each run was trained on which machine. Only plans read it.",
    "fits": "The table of fits has a row for each parameter of each law.",
    "forecasts": "The table of forecasts has a row for each law of each registered forecast, beside what came out.",
}
# (table, column) -> (unit, sentence); a table "" stands for every table that has no sentence of its own.
COLUMNS: dict[tuple[str, str], tuple[str, str]] = {
    ("", "run"): ("", "Id of the run, which is also its folder in `results/runs`."),
    ("curves", "run"): ("", "Id of the run; null for the points of a trunk, which belong to all of its budgets."),
    ("", "trunk"): (
        "",
        "Id of the stable phase that the run shares with other budgets; intervals resample trunks.",
    ),
    ("runs", "experiments"): ("", "Names of the experiments that ask for the run."),
    ("runs", "fitted"): ("", "Whether laws are fitted to the run."),
    ("", "corpus"): ("", "Id of the corpus."),
    ("", "corpus_name"): ("", "Name of the corpus in the config."),
    ("", "tokenizer"): ("", "Id of the tokenizer."),
    ("runs", "dataset_limited"): ("", "Whether the run saw only a part of the text, by `dataset_tokens`."),
    ("runs", "stopped"): ("", "What ended a run with `stop: early`: its patience, or `max_tokens`. Null for other runs."),
    ("", "n_layer"): ("layers", "Number of layers of the model."),
    ("", "d_model"): ("", "Width of the residual stream."),
    ("", "n_heads"): ("heads", "Heads of queries."),
    ("", "n_kv_heads"): ("heads", "Heads of keys and values, in architectures whose queries may be grouped; 0 in others."),
    ("", "d_ff"): ("", "Width of the feed-forward part, or of one expert."),
    ("", "d_attn"): ("", "Width of the queries of all heads together."),
    ("", "n_repeats"): ("", "How often each layer is used; 1 but in recurrent models."),
    ("", "sharing"): ("", "Order of the uses of the layers of a recurrent model."),
    ("runs", "learning_rate"): ("", "Highest learning rate of the schedule."),
    ("curves", "learning_rate"): ("", "Learning rate of the step before."),
    ("", "batch_tokens"): ("tokens", "Tokens of an optimizer step."),
    ("", "n_ctx"): ("tokens", "Length of the context."),
    ("", "warmup_tokens"): ("tokens", "Tokens over which the rate rises from zero."),
    ("", "tokens"): ("tokens", "D: tokens processed, each as often as it was seen."),
    ("", "dataset_tokens"): ("tokens", "Different tokens of the training set."),
    ("", "patience"): (
        "evaluations",
        "Evaluations without a better loss that end the run; 0 for runs that end at a budget.",
    ),
    ("", "threads"): ("threads", "CPU threads of the training."),
    ("", "eval_tokens"): ("tokens", KEYS["Settings"]["eval_tokens"]),
    ("", "curve_tokens"): ("tokens", KEYS["Settings"]["curve_tokens"]),
    ("", "micro_batch_tokens"): ("tokens", "Tokens of one forward pass; null where a batch is not divided."),
    ("", "noise_every"): ("steps", KEYS["Settings"]["noise_every"]),
    ("runs", "options"): ("", "Options of the architecture that have no column, as JSON; null where there are none."),
    ("runs", "optimizer_options"): ("", "Options of the optimizer of a plug-in, as JSON; null where there are none."),
    ("runs", "init"): ("", "The published weights that the run began from, as JSON; null where it began from nothing."),
    ("runs", "mixture"): (
        "",
        "The share of each corpus of the mixture that was trained on, as JSON; null for one corpus.",
    ),
    ("runs", "rate_sweep"): ("", "Id of the sweep whose rule gave the learning rate; null where none did."),
    ("runs", "parametrization"): ("", "The parametrization and its base, as JSON; null for the standard one."),
    ("runs", "plugins"): ("", "Hashes of the plug-in files that the run uses, as JSON; null where it uses none."),
    ("runs", "recipe"): ("", "Number that is raised when the code of training gives other numbers."),
    ("", "n_params"): ("parameters", "N: parameters without embeddings, biases and norms; every expert counts."),
    ("", "n_params_total"): ("parameters", "All parameters of the model."),
    ("runs", "n_params_active"): ("parameters", "The part of N that one token meets; less than N in mixtures of experts."),
    ("runs", "n_vocab"): ("tokens", "Size of the vocabulary."),
    ("runs", "steps"): ("steps", "Optimizer steps made."),
    ("", "flops_6nd"): ("FLOP", "C: compute of the training as 6 N D, by the parameters that a token meets."),
    ("runs", "flops_last_layer"): ("FLOP", "The same, with the product of the last hidden state and the vocabulary."),
    ("runs", "flops_attention"): ("FLOP", "The same, with attention's products over the context as well."),
    ("runs", "loss"): ("nats per token", "Mean loss on the test split; null for a run that diverged."),
    ("runs", "loss_stderr"): ("nats per token", "Standard error of the loss, clustered by passage."),
    ("runs", "loss_train"): ("nats per token", "Mean loss of the training batches before `best_step`."),
    ("curves", "loss_train"): ("nats per token", "Mean loss of the training batches since the point before."),
    ("runs", "bits_per_byte"): (
        "bits per byte",
        "The loss per byte; null where the tokenizer does not give the text back.",
    ),
    ("runs", "best_step"): (
        "step",
        "Step of the weights that are kept: the last, or the best under `stop: early`.",
    ),
    ("runs", "status"): ("", "How the run ended: ok or diverged."),
    ("", "step"): ("step", "Optimizer step at which the losses were measured."),
    ("curves", "tokens"): ("tokens", "Tokens processed up to this step."),
    ("curves", "phase"): ("", "Phase of the schedule that the step before was in, such as warmup, stable or decay."),
    ("curves", "flops_6nd"): ("FLOP", "Compute up to this step as 6 N D."),
    ("curves", "loss_test"): ("nats per token", "Mean loss on `curve_tokens` of the test split."),
    ("curves", "loss_validation"): ("nats per token", "Mean loss on the validation split; null at steps that do not measure it."),
    ("curves", "grad_norm"): ("", "Norm of the gradient before it is clipped."),
    ("curves", "loss_by_position"): ("nats per token", "Mean test loss over octaves of positions in the context."),
    ("curves", "noise_square"): ("", "Running mean of the squared gradient, |G|², from which the noise scale follows."),
    ("curves", "noise_trace"): (
        "",
        "Running mean of the trace of the gradient's covariance; over |G|² it is the noise scale.",
    ),
    ("evals", "corpus"): ("", "Id of the corpus whose test split was measured."),
    ("evals", "position"): ("position", "Position in the context, from 0; null for the mean over all of them."),
    ("evals", "loss"): ("nats per token", "Mean loss there."),
    ("evals", "stderr"): ("nats per token", "Standard error of that loss, clustered by passage."),
    ("evals", "nats_per_byte"): (
        "nats per byte",
        "The mean loss per byte of text; null at single positions.",
    ),
    ("evals", "n_tokens"): ("tokens", "Number of predicted tokens that the mean is taken over."),
    ("timings", "seconds"): ("seconds", "Wall time of the last process that trained the run."),
    ("timings", "tokens_per_second"): ("tokens per second", "Speed of the training."),
    ("timings", "device"): ("", "Processor or GPU that trained it."),
    ("timings", "torch"): ("", "Version of PyTorch."),
    ("timings", "python"): ("", "Version of Python."),
    ("timings", "attempts"): (
        "processes",
        "Processes that trained it one after the other, each from the last checkpoint.",
    ),
    ("timings", "processes"): ("processes", "Processes that trained it together."),
    ("timings", "micro_batch_tokens"): ("tokens", "Tokens of a forward pass, after what memory left."),
    ("timings", "compiled"): ("", "On a GPU, whether the training step was compiled, or why it was not; null on CPUs."),
    ("timings", "deterministic"): (
        "",
        "On a GPU, whether operations whose bits may differ were refused; null on CPUs.",
    ),
    ("timings", "device_asked"): ("", "What the training was told to use: auto, cpu, cuda or mps."),
    ("timings", "driver"): ("", "Version of the GPU's driver; null on CPUs."),
    ("timings", "gpus_visible"): ("GPUs", "GPUs that the first process saw; 0 on CPUs."),
    ("timings", "at_once"): ("trainings", "Trainings that shared the GPU."),
    ("", "law"): ("", "Name of the law."),
    ("", "flags"): ("", "Sentences on why the fit may be wrong, joined by semicolons; empty where none was found."),
    ("fits", "parameter"): ("", "Name of the parameter, or of an exponent that follows from the fit."),
    ("fits", "estimate"): ("see `unit`", "The fitted value; null where the law could not be fitted."),
    ("fits", "stderr"): ("see `unit`", "Standard error of the estimate."),
    ("fits", "ci_low"): ("see `unit`", "Lower end of the 95 % interval, from resamples of trunks."),
    ("fits", "ci_high"): ("see `unit`", "Upper end of that interval."),
    ("fits", "unit"): ("", "Unit of the parameter."),
    ("fits", "n_points"): ("points", "Points that the law was fitted to."),
    ("fits", "n_trunks"): ("trunks", "Trunks that the points belong to."),
    ("fits", "objective"): ("", "Value of the objective at the fit."),
    ("fits", "r2"): ("", "Share of the variance of the log losses that the law explains."),
    ("fits", "held_out_error"): ("", "Relative error on the largest runs when the law is fitted without them."),
    ("fits", "published"): ("see `unit`", "The value in the law's source; null where there is none."),
    ("forecasts", "file"): ("", "Name of the file in the study's folder `forecasts`."),
    ("forecasts", "late"): ("", "Whether the run was trained already when the forecast was written."),
    ("forecasts", "loss_forecast"): ("nats per token", "The loss that the law states; null where the law was not fitted."),
    ("forecasts", "low"): ("nats per token", "Lower end of the 95 % interval for the loss of the run."),
    ("forecasts", "high"): ("nats per token", "Upper end of that interval."),
    ("forecasts", "loss"): ("nats per token", "The loss that came out; null where the run is not trained or diverged."),
    ("forecasts", "error"): ("", "Forecast divided by the loss that came out, less 1."),
    ("forecasts", "inside"): ("", "Whether the loss that came out lies in the interval."),
    ("forecasts", "compute_factor"): ("", "Compute of the run over the largest among the runs of the fit."),
    ("forecasts", "n_factor"): ("", "N of the run over the largest among the runs of the fit."),
    ("forecasts", "tokens_factor"): ("", "Tokens of the run over the largest among the runs of the fit."),
    ("forecasts", "flops"): ("FLOP", "Compute of the run as 6 N D."),
    ("forecasts", "fit_sha256"): ("", "Hash of the file of the fit."),
    ("forecasts", "table_sha256"): ("", "Hash of the table that the law was fitted to."),
}


def described(table: str, column: str) -> tuple[str, str]:
    """Return the unit of a column and the sentence on what it holds; two empty texts where nothing describes it."""
    for place in ((table, column), ("", column)):
        if place in COLUMNS:
            return COLUMNS[place]
    own = {**KEYS["CorpusConfig"], **KEYS["Settings"]}
    return "", own.get(column, "")
