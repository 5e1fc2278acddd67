"""Figures of batch size and of the best use of compute."""

from __future__ import annotations

from scalinglaws.figures.listed import Figure

_TWO = ("critical-batch", "kaplan-ns")
_INDEPENDENT = "Intervals are 95 %, from resamples of the fits, which are taken as independent of each other. "

FIGURES = (
    Figure(
        "fig03_allocation",
        "How a growing compute budget divides",
        ("batch",),
        (),
        _TWO,
        "Figure 3 of the paper. How compute that grows from the least of this study's curves on is best "
        "divided into a larger model, a larger batch and more steps: C_min = 6 N B S_min, so on logarithmic "
        "axes the heights of the areas are the three factors and add up to the whole. Each is a power of "
        "C_min, whose exponent follows from the fits of L(N, S_min) and B_crit(L) (equations 6.4, 6.5, B.8 to"
        " B.10). Pale: beyond the compute of the curves. "
        + _INDEPENDENT
        + "Grey: where the areas would part with the exponents of the paper's Table 6, N ∝ C^0.73, B ∝ C^0.24, "
        "S ∝ C^0.03. Data grow as C^0.27 there: nearly all of a larger budget goes to larger models.",
    ),
    Figure(
        "fig10_critical_batch",
        "Critical batch size against loss",
        ("batch",),
        ("runs", "curves"),
        ("critical-batch",),
        "Figure 10 of the paper. B_crit = E_min/S_min of the hyperbola (5.1) through the steps that several "
        "batch sizes take to one loss, for a number of losses of each model size; bars: 95 %, by resampling "
        "the curves. Hollow triangles: losses whose B_crit lies beyond the batch sizes that reach them, at "
        "the last of these. Solid lines: the gradient noise scale tr(Σ)/|G|² of the stable phase where runs "
        "measured it, the ratio of sums over bins of the loss. Dashed: the fit of B_crit = B_*/L^(1/α_B) with"
        " its interval. Grey: the published slope through the centre of the points; tokens of another "
        "vocabulary give B_* other units. The paper found α_B 0.21 and B_* 2e8 tokens, and B_crit to depend "
        "on the loss alone, not on the size.",
    ),
    Figure(
        "fig12_wrong_size",
        "The cost of a model of the wrong size",
        ("batch",),
        (),
        _TWO,
        "Figure 12 of the paper. What a model of N instead of the best N_eff takes more to the same loss: "
        "compute (**a**, equation B.16) and steps (**b**, B.17), with the exponents of this study's L(N, "
        "S_min) (dashed, 95 % band) and the published ones (grey). Points: the curves of those sizes that "
        "reach a loss, a colour each, over what the fit expects of N_eff at that loss; S_min is the geometric"
        " mean over the batch sizes of a size, bars are their range. In the paper models of 0.6 to 2.2 times "
        "the best size take at most 20 % more compute; larger ones take fewer steps.",
    ),
    Figure(
        "fig13_compute_min",
        "Loss against compute at small batches",
        ("batch",),
        ("runs",),
        ("power-c", "power-cmin", *_TWO),
        "Figure 13 of the paper. Test loss against C_min = C/(1 + B/B_crit), the compute that a run would "
        "have needed at small batches, beside that against C = 6NBS at one batch size: decayed runs that no "
        "run betters with less, and the power laws fitted to either. Bars: 1.96 standard errors of the test "
        "loss. Bands: the line turned about the centre of its points through the exponent's 95 % interval. "
        "Grey: the published exponents as slopes through the same centres. The legend gives the exponent that"
        " equation 6.4 predicts from the fits of L(N, S_min) and B_crit(L). The paper found 0.050 for C_min "
        "and 0.057 for C, and predicted 0.054.",
    ),
    Figure(
        "fig14_optimal_size",
        "Best model size and steps for a compute budget",
        ("batch",),
        ("runs",),
        _TWO,
        "Figure 14 of the paper. **a** Points: where two neighbouring sizes reach one loss with the same "
        "C_min (means over the batch sizes of each, before the decay of the rate): the best size lies between"
        " them, near their geometric mean, which is drawn; bars go from the one to the other. **b** S_min "
        "there (filled; geometric mean of the two) and the steps S of runs at the batch size that most runs "
        "have (hollow). Dotted: least squares through the points, with Student's t interval of the slope. "
        "Dashed: what the fits of L(N, S_min) and B_crit(L) predict (B.8 to B.10). "
        + _INDEPENDENT
        + "Grey: the published exponents as slopes. The paper found N ∝ C_min^0.73 and S_min ∝ C_min^0.03.",
    ),
    Figure(
        "fig15_contradiction",
        "Where the laws of compute and data contradict each other",
        ("batch", "data"),
        ("runs",),
        ("power-cmin", "power-d", *_TWO),
        "Figure 15 of the paper. L(C_min), and L(D) for the data D(C_min) = 2 C_min/(6 N(C_min)) that a "
        "compute-efficient run at the critical batch size processes (6.6), both extrapolated far beyond the "
        "runs (filled points: runs by their C_min; hollow: early-stopped runs at the compute that would "
        "process their dataset). Where L(D) begins to lie above L(C_min), compute would give a loss that the "
        "data cannot: the laws must break down before. "
        + _INDEPENDENT
        + "The paper found the crossing near C* = 1e4 PF-days (8.64e23 FLOP), N* and D* 1e12, L* = 1.7 nats, "
        "all of them rough. N, D and L have the units of a vocabulary and a text.",
    ),
    Figure(
        "fig18_steps_tokens",
        "Steps against tokens to reach a loss",
        ("batch",),
        (),
        ("critical-batch",),
        "Figure 18 of the paper. Steps S and tokens processed E = BS to reach each of many losses (colours), "
        "a point a batch size, for the smallest and the largest model that were trained at enough of them. "
        "Lines: (S/S_min − 1)(E/E_min − 1) = 1 (5.1) fitted to each loss by least squares in log S; losses "
        "without a line have no B_crit within the batch sizes that reach them. The paper finds B_crit = "
        "E_min/S_min from such fits.",
    ),
    Figure(
        "fig19_resources_by_size",
        "Steps and tokens needed against model size",
        ("batch",),
        (),
        _TWO,
        "Figure 19 of the paper. The least steps S_min (**a**, at large batches) and the least tokens E_min ="
        " S_min B_crit (**b**, at small batches) to reach each of several losses, against model size. Points:"
        " curves before the decay of the rate, the geometric mean over the batch sizes of a size; bars: their"
        " range. Dashed: the fit of L(N, S_min), solved for S_min. Larger models need fewer steps and fewer "
        "tokens.",
    ),
)
