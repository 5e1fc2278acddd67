"""Figures that compare models and texts: shape, depth, architectures, transfer, quality of the text, seeds."""

from __future__ import annotations

from scalinglaws.figures.listed import Figure

FIGURES = (
    Figure(
        "fig05_shape",
        "Shape at fixed size",
        ("shape",),
        ("runs",),
        (),
        "Figure 5 of the paper. Final test loss of Transformers of one N (within 2 %), in percent above the best of the series, "
        "against the feed-forward ratio d_ff/d_model (**a**; n_layer and d_attn/d_model fixed, d_model follows N), the aspect "
        "ratio d_model/n_layer (**b**; d_attn/d_model fixed, d_ff/d_model nearest to one power of two) and the head width "
        "d_attn/n_heads (**c**; all else fixed). In a and b the head width is the one that a model mostly has. Of each size the "
        "longest such series is drawn, three sizes at most, each model averaged over its seeds. Band: what two models differ by "
        "through the seed alone in 95 % of cases, from the runs that have several seeds; where there are none, 1.96 standard "
        "errors of the test loss, which all models share, so it overstates the noise of a difference. At the paper's exponent "
        "of 0.076 2 % of N are 0.15 % of loss.",
    ),
    Figure(
        "fig06_depth",
        "Parameters with and without embeddings",
        ("depth",),
        ("runs",),
        (),
        "Figure 6 of the paper. Final test loss against all parameters (**a**) and against parameters without embeddings "
        "(**b**), a line for each depth, for Transformers of the commonest proportions that were trained alike. Bars: 1.96 "
        "standard errors of the test loss. The notes say how far models of two layers and more scatter about one curve: the "
        "better count of parameters is that with less scatter. The paper leaves models of one layer out of its fits.",
    ),
    Figure(
        "fig07_lstm",
        "LSTM and Transformer",
        ("lstm",),
        ("runs", "evals"),
        (),
        "Figure 7 of the paper. **a** Final test loss of LSTMs and of Transformers against N, trained alike on the same budget "
        "(the learning rate may differ). The note gives the LSTMs' excess over the Transformers' line, interpolated in "
        "logarithms to the same N. **b** Loss by position in the context, at most two pairs of like size (within a factor of "
        "1.5), in bins that grow by √2. Bars and bands: 1.96 standard errors of the test loss; for a bin the mean of its "
        "positions' errors.",
    ),
    Figure(
        "fig08_transfer",
        "Loss on other text",
        ("transfer",),
        ("runs", "evals"),
        (),
        "Figure 8 of the paper. **a** Loss of the final models on other text and on the text that they were trained on, against "
        "N, at the budget that most sizes have; dashed: straight lines in logarithms with their exponents (95 %, Student's t). "
        "**b** The same models at all budgets: loss on other text against that on the text trained on; thin lines: during "
        "training, where it was measured. In brackets the 95 % interval of the slope, 1 for a constant distance; runs of one "
        "model are not independent, so it is too narrow. Where a token is not a byte a second row shows nats per byte. Bars: "
        "1.96 standard errors of the test loss.",
    ),
    Figure(
        "fig17_recurrent",
        "Parameter sharing",
        ("recurrent",),
        ("runs",),
        (),
        "Figure 17 of the paper. Final test loss of Transformers whose layers are each used several times (layers A and B as "
        "ABAB or AABB) and of standard ones, trained alike on the same budget, against parameters (**a**) and against compute, "
        "in which a parameter counts at each use (**b**). The legend gives the mean excess over the standard line, "
        "interpolated in logarithms to the same N (a) or C (b). Bars: 1.96 standard errors of the test loss.",
    ),
    Figure(
        "fig24_transfer_depth",
        "Loss on other text by depth at fixed size",
        ("shape", "transfer"),
        ("runs", "evals"),
        (),
        "Figure 24 of the paper. Final loss on other text and on the text trained on against n_layer, for models of one N "
        "(within 2 %), one d_attn/d_model and d_ff/d_model nearest to one power of two; of several sizes that with most depths. "
        "In brackets the 95 % interval of the change with each doubling of the depth, from a straight line in logarithms "
        "(Student's t). Bars: 1.96 standard errors of the test loss.",
    ),
    Figure(
        "quality",
        "Quality of the text",
        ("quality",),
        ("runs", "evals"),
        (),
        "The same models trained on different corpora. **a** Final loss on the test split of the corpus trained on. **b** Loss "
        "on one text for all: that which models of most corpora were measured on, the least corrupted of these. In brackets: the "
        "share of characters that were replaced. Dashed: straight lines in logarithms with their exponents (95 %, Student's t). "
        "Losses on different texts say nothing of each other; b alone tells which text teaches more. Bars: 1.96 standard errors "
        "of the test loss.",
    ),
    Figure(
        "seeds",
        "Noise between seeds",
        ("seed",),
        ("runs",),
        (),
        "Runs that differ in their seed alone (weights and order of data). **a** Final losses less the mean of their group. "
        "**b** Standard deviation within the groups of one N (within 2 %) and budget together, with its 95 % interval (chi "
        "squared), beside the mean standard error of the test loss. Runs share the test text, so the seeds' noise is that of a "
        "comparison of two runs, and the test loss's that of a comparison with other text. The paper found that seeds move the "
        "final loss by about 0.02.",
    ),
)
