"""Figures of loss against size, data and compute."""

from __future__ import annotations

from scalinglaws.figures.listed import Figure

FIGURES = (
    Figure(
        "fig01_compute_data_parameters",
        "Loss against compute, data and parameters",
        ("size",),
        ("runs", "curves"),
        ("power-c", "envelope", "power-d", "power-n"),
        "Figure 1 of the paper. **a** Test loss against compute C: learning curves of the budgets of one family of "
        "models that see all the data, the lower envelope of all stable phases, decayed runs that no run "
        "betters with less compute (points), and the power laws fitted to either. **b** Early-stopped runs of "
        "the largest model on growing datasets, with L(D). **c** The largest budget of each size, with L(N). "
        "Bars: 1.96 standard errors of the test loss. Bands: the line turned about the centre of its points "
        "through the exponent's 95 % interval. Grey: the published exponent as a slope through the same "
        "centre; its level has no meaning here. The paper found exponents of 0.057 (C), 0.095 (D) and 0.076 "
        "(N), for N from 768 to 1.5e9 on WebText2.",
    ),
    Figure(
        "fig02_learning_curves",
        "Learning curves",
        ("size",),
        ("runs", "curves"),
        (),
        "Figure 2 of the paper. Test loss during training against the tokens processed (**a**) and against "
        "compute (**b**), for the budgets of one family of models that see all the data. With a warmup-stable-decay "
        "schedule the budgets of a size share one line; each decay leaves it and ends in a point, the final "
        "loss on the whole test sample. In the paper larger models need fewer tokens to reach the same loss.",
    ),
    Figure(
        "fig04_loss_vs_data",
        "L(N, D) against D, and L(N, S)",
        ("data",),
        ("runs",),
        ("kaplan-nd", "kaplan-ns"),
        "Figure 4 of the paper. Left, or alone: test loss of early-stopped runs against the size of their training "
        "set, a colour for each model size, with the joint fit of equation 1.5 (dashed). Bars: 1.96 standard "
        "errors of the test loss. Right, where the study fits L(N, S): learning curves after warm-up and before the "
        "decay against S_min = S/(1 + B_crit/B), with the fit of equation 1.6. The paper found exponents of 0.076 (N) "
        "and 0.103 (D), and 0.077 (N) and 0.76 (S).",
    ),
    Figure(
        "fig09_overfitting",
        "Overfitting: L(N, D) by size and dataset",
        ("data",),
        ("runs",),
        ("kaplan-nd",),
        "Figure 9 of the paper. **a** Test loss of early-stopped runs against model size, a colour for each "
        "training set, with the joint fit of equation 1.5. **b** Their excess over the same size trained on "
        "the whole split, against N^(α_N/α_D)/D, on which the paper's data collapse; dashed: equation 4.3. "
        "The whole split stands for infinite data: the short dashes show what the fit expects of the ratio "
        "that was measured. Bars: 1.96 standard errors, the two losses taken as independent although they "
        "share the test text, so the bars are too long.",
    ),
    Figure(
        "fig23_power_law_alternatives",
        "Power law and alternatives for L(N)",
        ("size",),
        ("runs",),
        ("power-n",),
        "Figure 23 of the paper. **a** The points of the fit of L(N), with a power law, a logarithm and an "
        "exponential of two parameters each, fitted by least squares in log loss. **b** Their residuals; "
        "bars: 1.96 standard errors of the test loss. In the paper the power law fits better than the "
        "logarithm; a narrow range of sizes cannot always tell.",
    ),
)
