"""A tokenizer as a tokenizer.json that the library transformers loads, which gives the ids that a model was trained with."""

from __future__ import annotations

import json

from scalinglaws.common.files import json_bytes
from scalinglaws.data.tokenizer import EOT_NAMES, Encoder


def content(encoder: Encoder) -> bytes:
    """Return the content of tokenizer.json.

    A given tokenizer comes without what training did not use: special tokens that it adds by itself, truncation, padding and
    dropout. Bytes become a vocabulary of 256 tokens without merges.
    """
    if encoder.bytes:
        return _bytes()
    given = json.loads(encoder.path.read_text(encoding="utf-8"))
    given["model"] |= {"dropout": None} if given["model"].get("dropout") else {}
    given |= {"truncation": None, "padding": None, "post_processor": None}
    given["decoder"] = json.loads(encoder.tokenizer.to_str())["decoder"]  # the encoder adds one that is missing
    return json_bytes(given)


def end_of_text(encoder: Encoder) -> str | None:
    """Return the text of the token that ends a text; None for bytes, where that is the byte zero, which is no special token."""
    if encoder.bytes:
        return None
    vocabulary = encoder.tokenizer.get_vocab(with_added_tokens=True)
    return next(name for name in EOT_NAMES if vocabulary.get(name) == encoder.eot)


def _bytes() -> bytes:
    """Return a tokenizer.json whose token of id i is the byte i."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE({character: byte for byte, character in enumerate(_characters())}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return (tokenizer.to_str(pretty=True) + "\n").encode()


def _characters() -> list[str]:
    """Return the character that stands for each byte in a byte-level tokenizer: itself where it prints, else one from 256 on.

    References
    ----------
    Radford et al. 2019 (GPT-2), ``bytes_to_unicode`` of the encoder that was published with it.
    """
    prints = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in prints else chr(next(others)) for byte in range(256)]
