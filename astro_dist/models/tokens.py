"""Tokenizers of prompts and captions, built in code from the alphabet of bytes and some words.

Every byte is a token, so that no text is outside the vocabulary. Each given word is one token, so that a
prompt of such words is short: a network's cost grows with the tokens. The classes are those of transformers,
which the layout of `UniDiffuserPipeline` asks for.
"""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import transformers

hub: Any = transformers
"""transformers without its types, which are incomplete."""
END_OF_WORD, START, END = "</w>", "<|startoftext|>", "<|endoftext|>"
Pair = tuple[str, str]


def byte_alphabet() -> list[str]:
    """Return one printable letter for each byte from 0 to 255, as GPT-2 and CLIP write them."""
    # Radford et al. 2019: printable bytes of Latin-1 stand for themselves, the others for letters from 256.
    kept = {*range(33, 127), *range(161, 173), *range(174, 256)}
    further = iter(range(256, 512))
    return [chr(byte if byte in kept else next(further)) for byte in range(256)]


def build_prompt_tokenizer(length: int, texts: Iterable[str] = ()) -> Any:
    """Return the tokenizer of prompts for an encoder of ``length`` tokens; words of ``texts`` are tokens."""
    letters = byte_alphabet()
    # CLIP's tokenizer writes in small letters and marks the last letter of a word.
    words = [[*_spell(word[:-1]), _spell(word)[-1] + END_OF_WORD] for word in _words(texts, r"[a-z]+")]
    merges = _merge(words)
    tokens = [*letters, *(letter + END_OF_WORD for letter in letters), *map("".join, merges), START, END]
    return hub.CLIPTokenizer(vocab=_numbered(tokens), merges=merges, model_max_length=length)


def build_caption_tokenizer(texts: Iterable[str] = ()) -> Any:
    """Return the tokenizer of captions; words of ``texts`` are tokens, and the last token ends a caption."""
    merges = _merge([_spell(word) for word in _words(texts, r" ?[A-Za-z]+")])
    tokens = [*byte_alphabet(), *map("".join, merges), END]
    return hub.GPT2Tokenizer(vocab=_numbered(tokens), merges=merges)


def _words(texts: Iterable[str], pattern: str) -> list[str]:
    # In the order of their first appearance, because the numbers of the tokens follow from it.
    lower = "A-Z" not in pattern
    found = (word for text in texts for word in re.findall(pattern, text.lower() if lower else text))
    return list(dict.fromkeys(found))


def _spell(word: str) -> list[str]:
    letters = byte_alphabet()
    return [letters[byte] for byte in word.encode()]


def _merge(words: Sequence[list[str]]) -> list[Pair]:
    """Return the merges that make each word one token."""
    merges: list[Pair] = []
    for word in words:
        # The merges of earlier words come first in the tokenizer too, so that they may leave few letters.
        parts = _apply(merges, word)
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = [parts[0] + parts[1], *parts[2:]]
    return merges


def _apply(merges: Sequence[Pair], parts: list[str]) -> list[str]:
    rank = {pair: place for place, pair in enumerate(merges)}
    while known := [pair for pair in pairwise(parts) if pair in rank]:
        first = min(known, key=rank.__getitem__)
        merged: list[str] = []
        for part in parts:
            if merged and (merged[-1], part) == first:
                merged[-1] += part
            else:
                merged.append(part)
        parts = merged
    return parts


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    # A word may end in a token that an earlier merge has made: the first number stays.
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}
