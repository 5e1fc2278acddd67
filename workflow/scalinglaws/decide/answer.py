"""What ``scalinglaws forecast`` answers, as typed records: ``Answers.model_json_schema()`` is the schema of its JSON.

N and n_params are parameters without embeddings, losses are in nats per token, and a null is a number that is not known.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A record without other keys than its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Size(Record):
    """The best size of a compute by a law, ``together`` by all that tell it: N and its 95 % interval, and D = C/(6N)."""

    method: str
    n_params: float
    n_low: float | None
    n_high: float | None
    tokens: float


class Loss(Record):
    """The loss of the run by a law, ``together`` by all, and its 95 % interval.

    ``factor`` is the product of the law's variables over that of its largest fitted run, and ``reach`` the largest factor that
    windows of the table could check, 1 where they could check none.
    """

    method: str
    loss: float
    low: float | None
    high: float | None
    factor: float | None
    reach: float | None


class Beyond(Record):
    """The run's compute, N and tokens over the largest among the fitted runs; null where these do not tell."""

    compute: float | None
    n_params: float | None
    tokens: float | None


class WrongSize(Record):
    """A size ``factor`` times the best one at the same compute, by the law of size and tokens.

    ``excess`` is the loss above that of the best size, and ``worth`` the share of the compute that the best size would need for
    the same loss.
    """

    factor: float
    n_params: float
    tokens: float
    excess: float
    worth: float


class Alternative(Record):
    """A model of ``factor`` times the run's size that has its loss after more tokens.

    ``flops`` is the compute of its training. ``lifetime`` is that of training and of serving the tokens that were asked for, null
    where none were. ``low`` to ``high`` is the 95 % interval of its loss by all laws together.
    """

    factor: float
    n_params: float
    tokens: float
    flops: float
    lifetime: float | None
    low: float | None
    high: float | None


class Served(Record):
    """The model that has the run's loss at the least compute for its training and for serving so many ``tokens_served``.

    ``saving`` is the share of the run's own compute for both that it saves.
    """

    tokens_served: float
    model: Alternative
    saving: float


class Trained(Record):
    """The run as the study would train it: its shape, N and budget, and what the rules of the config give it.

    ``block`` is the entry to paste under experiments, and ``refused`` says why the study does not take it as it stands.
    """

    run: str | None
    model: str
    n_params: int
    tokens: int
    batch_tokens: int | None
    steps: int | None
    learning_rate: float | None
    refused: str | None
    block: str


class Cost(Record):
    """The training compute in hours of one device, and what it costs where the price of an hour was given."""

    device: str
    hours: float
    price: float | None


class Answer(Record):
    """The answer to one question, of which ``asked`` has the numbers.

    ``flops_low`` to ``flops_high`` is the 95 % interval of the compute that a loss takes, where a loss was asked for. ``worth``
    is the share of the run's compute that the best size would need for its loss, by the law of size and tokens.
    """

    asked: dict[str, float]
    flops: float
    flops_low: float | None
    flops_high: float | None
    n_params: float
    tokens: float
    worth: float
    sizes: list[Size]
    losses: list[Loss]
    beyond: Beyond
    wrong_sizes: list[WrongSize]
    alternatives: list[Alternative]
    served: Served | None
    cost: Cost
    trained: Trained | None
    doubts: list[str]


class Answers(Record):
    """All answers, the laws that they rest on, and sentences of doubt about these."""

    source: str
    laws: list[str]
    answers: list[Answer]
    doubts: list[str]
