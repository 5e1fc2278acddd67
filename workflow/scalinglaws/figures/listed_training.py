"""Figures of what happens within a training run, and of the settings of training."""

from __future__ import annotations

from scalinglaws.figures.listed import Figure

FIGURES = (
    Figure(
        "fig11_fixed_resources",
        "Loss against size at fixed compute and at fixed steps",
        ("size",),
        ("runs", "curves"),
        ("kaplan-ns", "critical-batch"),
        "Figure 11 of the paper. Test loss against model size at fixed compute (**a**) and at a fixed number of steps "
        "(**b**): learning curves after warm-up, and before the decay where the schedule has a stable phase, read off "
        "between their points in logarithms at six values, evenly in log, that at least three sizes have passed. Of "
        "several runs of a size their mean; of several shapes the one with most runs. Dashed: L(N, S) of equation 1.6 at "
        "S_min = S/(1 + B_crit/B), where the study has its fit and that of B_crit(L). Diamonds in **a**: the lowest point "
        "of a parabola in log N through the least loss and its neighbours; hollow where the least loss is that of the "
        "smallest or the largest size, so that the best size lies beyond. The paper found exponents of 0.077 (N) and 0.76 "
        "(S).",
        bare=True,
    ),
    Figure(
        "fig16_early_stopping",
        "Early stopping against its lower bound",
        ("data",),
        ("runs", "curves"),
        ("kaplan-ns",),
        "Figure 16 of the paper. **a** Step of the least validation loss of runs that were stopped early, against the "
        "lower bound of equation 5.7, S_c/[L(N, D) − L(N, ∞)]^(1/α_S), the shaded side of which it excludes. L(N, ∞) is "
        "the measured loss of the same size stopped early on the whole split; S_c and α_S are those of the fit of L(N, "
        "S). Without such a fit the bound is known up to a factor and has the paper's α_S of 0.76. S_c is counted in "
        "steps at large batches, of which a run at a smaller batch takes more, so the bound holds for it too. Standard "
        "errors take the two losses as independent. **b** Train and test loss of the size with most datasets.",
        bare=True,
    ),
    Figure(
        "fig20_position",
        "Loss by position in the context",
        ("size",),
        ("runs", "curves", "evals"),
        (),
        "Figure 20 of the paper. Test loss by position in the context, the first predicted token being 1. **a** After "
        "training, for up to five sizes at one budget: every position (faint), means over bins that grow by √2 with 1.96 "
        "times the mean of their standard errors (points), and a power law in the position (dashed), fitted to the points in "
        "logarithms. **b** The largest model at up to five steps, in bins that double. Brackets: 95 % intervals from the "
        "scatter about the line. Lines are said to bend where a quadratic term exceeds three standard errors.",
    ),
    Figure(
        "fig21_position_by_size",
        "Loss at chosen positions against size",
        ("context",),
        ("runs", "evals"),
        (),
        "Figure 21 of the paper. Final test loss at chosen positions in the context against model size. Solid: the "
        "longest context of the study; dashed with hollow points: the shortest (n_ctx = 8 in the paper). Bars: 1.96 "
        "standard errors. The models agree in everything else but the learning rate. Exponents: of the loss in N, with 95 "
        "% intervals from the scatter about the line.",
    ),
    Figure(
        "fig22_schedules",
        "Learning-rate schedules",
        ("schedule",),
        ("runs",),
        (),
        "Figure 22 of the paper. **a** Learning-rate schedules of one model, each at the peak rate that most of them "
        "have. **b** The final losses they reach, best first, in the same colours: points are runs, ticks means over "
        "seeds, bars 1.96 standard errors of the test loss, which all runs share, so that their differences are known "
        "better. **c** The losses against the sum of the rates of all updates. In the paper schedules move the final loss "
        "by about 0.05, seeds by about 0.02.",
    ),
    Figure(
        "learning_rate",
        "Loss against the learning rate",
        ("rate",),
        ("runs",),
        (),
        "**a** Final test loss against the learning rate, a colour for each size, with a parabola in the log rate through "
        "the least loss and up to two rates on either side, or one where five points are no parabola. **b** The rate at "
        "the lowest point of the parabola against size. Bars: 95 % intervals of that point from the scatter of seeds, or "
        "else from the scatter about the parabola; where nothing tells the scatter, the neighbouring rates. Sizes whose "
        "least loss is at the end of the rates tried are hollow and not fitted. Brackets: 95 % interval of the exponent. "
        "Orange: the power law on which the rates of the study's other runs lie, if they do. Grey: LR(N) = 0.003239 − "
        "0.0001395 ln N of the paper, for its tokens and batch.",
    ),
    Figure(
        "optimizers",
        "Optimizers",
        ("optimizer",),
        ("runs", "curves"),
        (),
        "**a** Final test loss against size, each optimizer at the best of the learning rates that were tried with it; "
        "hollow where that is the least or the largest of them, so that a better one may lie beyond. Bars: 1.96 standard "
        "errors, of a test text that all share. **b** Tokens that each needs to reach one loss, over those of AdamW: the "
        "worst of the final losses of its size, read off the learning curves. The worst optimizer reaches it with its "
        "rate decayed to the end and the others earlier, so that the gain is rather understated. Work of the optimizer "
        "itself is not counted.",
    ),
    Figure(
        "repetition",
        "Repeated data",
        ("repetition",),
        ("runs",),
        ("repetition",),
        "**a** Final test loss against the number of epochs, a colour for each dataset, of the size with most such runs, "
        "with the law of repeated data (Muennighoff et al. 2023; dashed) where the study fits it. **b** The excess over "
        "the same size and budget on fresh data, all sizes. Bars: 1.96 standard errors; in **b** the two losses are taken "
        "as independent although they share the test text, so the bars are too long.",
        bare=True,
    ),
)
