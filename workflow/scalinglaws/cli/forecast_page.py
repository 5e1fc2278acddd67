"""The page that ``scalinglaws forecast`` prints: each answer as paragraphs and tables for a reader."""

from __future__ import annotations

from scalinglaws.common.numbers import as_printed, between, listed, number
from scalinglaws.decide.answer import Alternative, Answer, Answers
from scalinglaws.report.one_fit import LOSS_DIGITS, Block, Table

NAMES = {"flops": "FLOP", "loss": "nats per token", "n_params": "parameters", "tokens": "tokens", "price": "spent"}


def page(found: Answers) -> list[Block]:
    """Return all answers, and at the end what speaks against the laws."""
    blocks: list[Block] = [f"Forecasts from {found.source}, by the laws {listed(found.laws)}. Losses are in nats per token."]
    for answer in found.answers:
        blocks += _answer(answer)
    doubts = [*found.doubts, *dict.fromkeys(doubt for answer in found.answers for doubt in answer.doubts)]
    if doubts:
        blocks += ["Reasons to doubt it:", doubts]
    return blocks


def _answer(a: Answer) -> list[Block]:
    asked = " and ".join(f"{as_printed(value)} {NAMES[name]}" for name, value in a.asked.items())
    loss = a.losses[-1]
    told = f"a loss of {number(loss.loss, LOSS_DIGITS)}"
    if loss.low is not None:
        told += f", 95 % interval {between(loss.low, loss.high, LOSS_DIGITS)}"
    blocks: list[Block] = [
        f"For {asked}: {number(a.n_params)} parameters and {number(a.tokens)} tokens ({number(a.tokens / a.n_params)} for each "
        f"parameter) give {told}."
    ]
    if "loss" in a.asked:
        low, high = a.flops_low, a.flops_high
        ends = "no end of the interval within reach" if low is None and high is None else f"{_end(low)} to {_end(high)}"
        blocks.append(f"This takes {number(a.flops)} FLOP; 95 % interval: {ends}.")
    blocks.append(_cost(a))
    blocks += _sizes(a)
    blocks += _losses(a)
    blocks += _choices(a)
    return [*blocks, *_trained(a)]


def _end(value: float | None) -> str:
    return "beyond reach" if value is None else number(value)


def _cost(a: Answer) -> str:
    """Tell the compute and what it costs."""
    paid = "" if a.cost.price is None else f", which cost {number(a.cost.price)}"
    factors = [
        f"{number(value)} times the {name}"
        for name, value in (("compute", a.beyond.compute), ("size", a.beyond.n_params), ("tokens", a.beyond.tokens))
        if value is not None
    ]
    worth = f" It is worth {100 * a.worth:.3g} % of this compute at the best size." if "n_params" in a.asked else ""
    return (
        f"It is {number(a.flops)} FLOP of training, {number(a.cost.hours)} hours of one {a.cost.device}{paid}. Of the largest "
        f"among the fitted runs it has {listed(factors)}.{worth}"
    )


def _sizes(a: Answer) -> list[Block]:
    rows = [
        [of.method, number(of.n_params), between(of.n_low, of.n_high) if of.n_low else "", number(of.tokens)] for of in a.sizes
    ]
    columns = ("by", "best N", "95 % interval", "best D")
    return [f"Best sizes for {number(a.flops)} FLOP:", Table(columns, rows, ("best N", "best D")).filled()]


def _losses(a: Answer) -> list[Block]:
    rows = [
        [
            of.method, number(of.loss, LOSS_DIGITS), between(of.low, of.high, LOSS_DIGITS) if of.low else "",
            number(of.factor) if of.factor is not None else "", number(of.reach) if of.reach is not None else "",
        ]
        for of in a.losses
    ]  # fmt: skip
    meaning = (
        "The loss by each law; the factor is how far the law is asked beyond its data, and the last column how far was checked."
    )
    columns = ("by", "loss", "95 % interval", "factor", "checked to")
    return [meaning, Table(columns, rows, ("loss", "factor", "checked to")).filled()]


def _choices(a: Answer) -> list[Block]:
    """Return what other sizes cost: at the same compute, to the same loss, and with the tokens that are served."""
    wrong = [
        [number(of.factor), number(of.n_params), number(of.tokens), f"+{number(of.excess)}", f"{100 * of.worth:.3g} %"]
        for of in a.wrong_sizes
    ]
    columns = ("size over best", "N", "D", "loss", "worth of the compute")
    blocks: list[Block] = ["A wrong size at the same compute:", Table(columns, wrong, columns)]
    names = ("size over the run's", "N", "D", "D/N", "compute", "lifetime FLOP", "95 % interval of the loss")
    if a.alternatives:
        rows = [_alternative(of, a.flops) for of in a.alternatives]
        blocks += [
            "Smaller models with the same loss by the law of size and tokens, trained for longer:",
            Table(names, rows, names[:-1]).filled(),
        ]
    else:
        blocks.append("No model of half the size reaches this loss, however long it is trained.")
    if a.served:
        of = a.served
        blocks += [
            f"With {number(of.tokens_served)} tokens served, the least compute for training and serving, at the same loss, is "
            f"that of this model; it saves {100 * of.saving:.3g} % of the run's:",
            Table(names, [_alternative(of.model, a.flops)], names[:-1]).filled(),
        ]
    return blocks


def _alternative(of: Alternative, flops: float) -> list[str]:
    sizes = [number(of.factor), number(of.n_params), number(of.tokens), number(of.tokens / of.n_params)]
    costs = [f"{number(of.flops / flops)} times", "" if of.lifetime is None else number(of.lifetime)]
    return [*sizes, *costs, between(of.low, of.high, LOSS_DIGITS) if of.low else ""]


def _trained(a: Answer) -> list[Block]:
    """Return the entry to paste, and what the rules of the study give the run."""
    of = a.trained
    if of is None:
        return []
    shape = f"A model {of.model} has {of.n_params:,} parameters, and takes {of.tokens:,} tokens for this compute"
    if of.batch_tokens is None:
        rules = "; no config gives it a rate and a batch."
    else:
        rules = (
            f". The study's rules give it batches of {of.batch_tokens:,} tokens, {of.steps:,} steps and a rate of "
            f"{number(of.learning_rate)}."
        )
    refused = [f"The study refuses this entry as it stands: {of.refused}"] if of.refused else []
    return [
        f"{shape}{rules} To register its forecast and to train it, paste this under experiments:",
        of.block.rstrip(),
        *refused,
    ]
