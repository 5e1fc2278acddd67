"""The 24 claims of Kaplan et al. 2020 (arXiv:2001.08361) that a study judges, with the thresholds that decide them.

The thresholds stand here before the runs that they judge and do not move afterwards. They are about what a claim says, not about
its value at a scale a thousand times larger, unless the claim is that value. ``docs/claims.md`` shows them as a table.

Several claims are that a law describes losses. For these the misfit is the root mean square of log(loss/law). Its degrees of
freedom are the trunks (the budgets of one model share most of their training and count once) less the parameters of the law, and
its interval is that of a standard deviation (chi squared). It may be 4 % of the loss at most, which an rms of about 1.5 % on six
trunks or 2.5 % on fifteen shows. Where single runs are compared, intervals come from the standard deviation between seeds.
"""

from __future__ import annotations

import math

from scalinglaws.report.claims.rules import Claim, Criterion, Demand

ANY = math.inf
MISFIT = 4.0  # % of the loss: most that a law may miss the losses by that it is said to describe
SURE = 0.25  # most standard error of an exponent, as a share of it


def _positive(name: str, statistic: str, published: str) -> Criterion:
    return Criterion(name, statistic, 0.0, ANY, "", published)


def _misfit(law: str) -> Criterion:
    return Criterion("misfit", f"rms misfit of {law}", -ANY, MISFIT, "%")


def _sure(exponent: str) -> Demand:
    return Demand("error", f"the standard error of {exponent} as a share of it", most=SURE)


def _span(words: str, least: float) -> Demand:
    return Demand("span", f"the range of {words}, as a factor", least=least)


def _sizes(least: float, what: str = "model sizes") -> Demand:
    return Demand("sizes", f"the number of {what}", least=least)


LAWS = (
    Claim(
        1, "The loss falls as a power of N.", "3.2, equation 1.1",
        "The interval of α_N is that of the fit, from a bootstrap over trunks.",
        (_positive("exponent", "α_N of L(N)", "0.076"), _misfit("L(N)")),
        (_sure("α_N"), _span("N", 10), _sizes(5)),
        ("size",), ("power-n",),
    ),
    Claim(
        2, "The loss falls as a power of D.", "3.3, equation 1.2",
        "The interval of α_D is that of the fit, from a bootstrap over trunks.",
        (_positive("exponent", "α_D of L(D)", "0.095"), _misfit("L(D)")),
        (_sure("α_D"), _span("D", 8), _sizes(4, "sizes of the dataset"),
         Demand("stopped", "the share of its runs on part of the data that stopped before their cap of tokens", least=0.75)),
        ("data",), ("power-d",),
    ),
    Claim(
        3, "The loss falls as a power of C.", "3.3, equation 3.3",
        "The interval of α_C is that of the fit to the final losses that no run betters with less compute.",
        (_positive("exponent", "α_C of L(C)", "0.057"), _misfit("L(C)")),
        (_sure("α_C"), _span("C", 30), _sizes(5, "points on the frontier")),
        ("size",), ("power-c",),
    ),
    Claim(
        4, "L(N, D) fits all early-stopped runs jointly.", "4, equation 1.5",
        "The misfit is that of all early-stopped runs; the intervals of the exponents are those of the fit.",
        (_misfit("L(N, D)"), _positive("alpha_N", "α_N of L(N, D)", "0.076"), _positive("alpha_D", "α_D of L(N, D)", "0.103")),
        (_sizes(3), Demand("datasets", "the number of sizes of the dataset", least=4),
         Demand("stopped", "the share of its runs on part of the data that stopped before their cap of tokens", least=0.75)),
        ("data",), ("kaplan-nd",),
    ),
    Claim(
        5, "Overfitting collapses on N^(α_N/α_D)/D.", "4.2, equation 4.3, Figure 9",
        "The curve is a parabola of log(1 + δL) in log(N^(α_N/α_D)/D), with the exponents of the fit of L(N, D).",
        (Criterion("scatter", "rms scatter of 1 + δL about one curve of N^(α_N/α_D)/D", -ANY, MISFIT, "%"),),
        (_sizes(2), Demand("runs", "the number of runs on part of the data", least=6),
         Demand("largest", "the largest δL", least=0.15)),
        ("data",), ("kaplan-nd",),
    ),
    Claim(
        8, "A power law describes L(N) better than a logarithm.", "D.7, Figure 23",
        "Both laws have two parameters and are fitted by least squares in log loss; the interval is that of a ratio of "
        "two paired scatters (Pitman and Morgan).",
        (Criterion("ratio", "scatter of L(N) about a logarithm over that about a power law", 1.0, ANY, "", "above 1"),),
        (_span("N", 10), _sizes(5)),
        ("size",), ("power-n",),
    ),
)  # fmt: skip

MODELS = (
    Claim(
        6, "The shape at fixed N moves the loss by a few percent over wide ratios.", "3.1, Figure 5",
        "The largest loss of the three series, less and plus 1.96 standard deviations of a difference between seeds.",
        (Criterion("lost", "largest loss above the best shape of the same N", -ANY, 5.0, "%",
                   "3 % for an aspect ratio 40 times smaller"),),
        (Demand("ratios", "the number of ratios (d_ff/d_model, d_model/n_layer, d_attn/n_heads) that four shapes of one N vary "
                "by a factor of 8", least=3),),
        ("shape", "seed"),
    ),
    Claim(
        7, "N without embeddings is the better count of parameters.", "3.2, Figure 6",
        "The curves are parabolas in logarithms; the interval is that of a ratio of two paired scatters (Pitman and "
        "Morgan).",
        (Criterion("ratio", "scatter about one curve of all parameters over that about one curve of N", 1.0, ANY, "",
                   "above 1"),),
        (_sizes(6, "models of two layers and more"), Demand("depths", "the number of their depths", least=2)),
        ("depth",),
    ),
    Claim(
        9, "Early in the context LSTMs equal Transformers.", "3.2.1, Figure 7",
        "The mean over sizes, with the Transformers' losses interpolated in logarithms to each LSTM's N; Student's t over "
        "sizes, and no narrower than the noise between seeds.",
        (Criterion("excess", "loss of LSTMs above Transformers of the same N, positions 1 to 8", -3.0, 3.0, "%", "about 0"),),
        (_sizes(4, "LSTMs within the Transformers' range of N"),),
        ("lstm",),
    ),
    Claim(
        10, "Late in the context LSTMs do not equal Transformers.", "3.2.1, Figure 7",
        "As claim 9, at positions beyond half of the context.",
        (Criterion("excess", "loss of LSTMs above Transformers of the same N, second half of the context", 1.0, ANY, "%",
                   "above 0"),),
        (_sizes(4, "LSTMs within the Transformers' range of N"),),
        ("lstm",),
    ),
    Claim(
        11, "The loss on other text follows that on the own text at a constant offset.", "3.2.2, Figure 8",
        "Least squares through the final models, whose losses on the other texts are averaged; Student's t over models.",
        (Criterion("slope", "slope of the mean loss on other text in the loss on the own text", 0.8, 1.2, "", "about 1"),),
        (_sizes(5, "models"), Demand("range", "the range of the loss on the own text in nats", least=0.2)),
        ("transfer",),
    ),
    Claim(
        12, "Depth at fixed N does not matter to the loss on other text beyond the loss on the own text.", "D.8, Figure 24",
        "Least squares of the log of the ratio, averaged over the other texts, in log2 of the depth; Student's t over "
        "depths.",
        (Criterion("change", "change of the ratio of the loss on other text to that on the own text with a doubling of the depth",
                   -1.5, 1.5, "%", "about 0"),),
        (_sizes(4, "depths"), _span("the depth", 4)),
        ("transfer", "shape"),
    ),
    Claim(
        21, "Sharing layers costs compute.", "3.2.1 and D.2, Figure 17",
        "The mean over models, with the standard models' losses interpolated in logarithms to the same 6NBS, where N "
        "counts each use of a layer; Student's t over models, and no narrower than the noise between seeds.",
        (Criterion("excess", "loss of Transformers with shared layers above standard ones at the same compute", 0.0, ANY, "%",
                   "above 0"),),
        (_sizes(4, "models with shared layers within the range of compute of the standard ones"),),
        ("recurrent",),
    ),
    Claim(
        22, "The loss falls as a power of the position, more so in larger models.", "D.5, Figure 20",
        "Least squares in log loss through bins of the position that grow by √2; p has its interval from leaving out one "
        "bin at a time, and its trend in log10 N from Student's t over sizes.",
        (_positive("exponent", "exponent p of L = E + A/T^p in the position T, largest model", "above 0"),
         _misfit("E + A/T^p, largest model"),
         _positive("trend", "change of p with each factor of 10 in N", "above 0")),
        (_span("the position", 16), _sizes(4)),
        ("size",),
    ),
    Claim(
        24, "The schedule of the learning rate moves the final loss little.", "D.6, Figure 22",
        "The largest loss above the best one, less and plus 1.96 standard deviations of a difference between seeds.",
        (Criterion("lost", "largest loss above the best schedule, of those that warm up and decay", -ANY, 3.0, "%",
                   "about 2 % (0.05 nats)"),),
        (Demand("schedules", "the number of schedules that warm up and decay", least=4),),
        ("schedule", "seed"),
    ),
)  # fmt: skip

TRAINING = (
    Claim(
        13, "B_crit depends on the loss and not on the size.", "5.1, Figure 10",
        "The exponent is the mean of log(B_crit of the largest size/B_crit of the smallest)/log(N/N) at the losses at "
        "which both have one. Its standard error is the mean of theirs, since these losses share their curves.",
        (Criterion("exponent", "exponent of N in B_crit at the same loss", -0.3, 0.3, "", "about 0"),
         _positive("alpha_B", "α_B of B_crit(L)", "0.21")),
        (_span("N", 4), Demand("losses", "the number of losses at which two sizes have a B_crit", least=3)),
        ("batch",), ("critical-batch",),
    ),
    Claim(
        14, "The gradient noise scale follows B_crit.", "5.1, Figure 10",
        "Means over trunks of the log of the ratio to the fitted B_crit(L), and of slopes in logarithms along each trunk; "
        "Student's t over trunks.",
        (Criterion("ratio", "noise scale over B_crit at the same loss", 1 / 3, 3.0, "", "about 1"),
         Criterion("slope", "exponent of the noise scale in B_crit", 0.5, 2.0, "", "about 1")),
        (Demand("trunks", "the number of trunks with a noise scale", least=4),),
        ("batch", "noise"), ("critical-batch",),
    ),
    Claim(
        15, "L(N, S_min) fits the learning curves.", "5.2, equation 1.6",
        "The misfit is that of the points of all learning curves in the fit, which count as many as their trunks.",
        (_misfit("L(N, S_min)"), _positive("alpha_N", "α_N of L(N, S_min)", "0.077"),
         _positive("alpha_S", "α_S of L(N, S_min)", "0.76")),
        (_sizes(4), Demand("trunks", "the number of trunks", least=8)),
        ("batch",), ("kaplan-ns",),
    ),
    Claim(
        16, "The loss falls as a power of C_min, and equation 6.4 predicts its exponent.", "6.1 and 6.2, equations 1.3 and 6.4",
        "The intervals of α_C and of the ratio come from the resamples of the fits, which are taken as independent.",
        (_positive("exponent", "α_C of L(C_min)", "0.050"), _misfit("L(C_min)"),
         Criterion("ratio", "α_C of L(C_min) over its prediction by equation 6.4", 2 / 3, 1.5, "", "0.93")),
        (_sure("α_C"), _span("C_min", 10), _sizes(5, "points on the frontier")),
        ("batch",), ("power-cmin", "kaplan-ns", "critical-batch"),
    ),
    Claim(
        17, "The exponent of N_opt in C_min lies well above one half.", "6.1, Figure 14",
        "From the line through the points where neighbouring sizes are equally good (Student's t), if there are five of "
        "them, else from equations 6.4 and 6.5 with the resamples of the fits.",
        (Criterion("exponent", "exponent of N_opt in C_min", 0.6, ANY, "", "0.73"),),
        (_sizes(5),),
        ("batch",), ("kaplan-ns", "critical-batch"),
    ),
    Claim(
        18, "S_min hardly grows with C_min.", "6.1, Figure 14",
        "As claim 17: S_min at those points, else α_C^min/α_S.",
        (Criterion("exponent", "exponent of S_min in C_min", -ANY, 0.1, "", "0.03"),),
        (_sizes(5),),
        ("batch",), ("kaplan-ns", "critical-batch"),
    ),
    Claim(
        19, "Early stopping comes after the bound of equation 5.7.", "5.3, equation 5.7, Figure 16",
        "Runs whose loss exceeds that on all the data by 1.96 standard errors and that had not reached their cap; "
        "Jeffreys' interval of a share. The bound has S_c and α_S of the fit of L(N, S_min).",
        (Criterion("share", "share of the runs that stopped at or after the bound", 2 / 3, ANY, "", "nearly all"),),
        (Demand("runs", "the number of runs that stopped early with a loss told from that on all the data", least=6),),
        ("data", "batch"), ("kaplan-ns",),
    ),
    Claim(
        20, "Compute-efficient training stops about 10 % above the converged loss.", "B, equation B.5",
        "From the resamples of the fit of L(N, S_min).",
        (Criterion("above", "100·α_N/α_S of L(N, S_min)", 5.0, 20.0, "%", "10 %"),),
        (_sizes(4),),
        ("batch",), ("kaplan-ns",),
    ),
    Claim(
        23, "Larger models need fewer tokens and steps to reach a loss.", "5.2, Figures 2 and 19",
        "Least squares of the log of the tokens in log N with a constant for each loss, on learning curves before the "
        "decay; the interval comes from leaving out one size at a time.",
        (Criterion("exponent", "exponent of N in the tokens to a loss at one batch size", -ANY, 0.0, "", "below 0"),),
        (_sizes(4), _span("N", 8)),
        ("size",),
    ),
)  # fmt: skip

CLAIMS = tuple(sorted((*LAWS, *MODELS, *TRAINING), key=lambda claim: claim.number))
