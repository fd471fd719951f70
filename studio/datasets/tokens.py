"""Captions as the base's text encoders read them: tokens, and the tail that is cut off. Without torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import storage
from studio.families import BaseProblem, Source

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
_CLIP = (r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
ENDLESS = 100_000  # transformers writes 1e30 for "no limit"


@dataclass(frozen=True)
class Encoder:
    """One text encoder's tokenizer: its folder's name, the real tokens it takes, and the tokenizer itself."""

    name: str
    limit: int
    tokenizer: Any

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has, the special ones not counted."""
        return [len(e.ids) for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def read(self, text: str) -> dict[str, Any]:
        """{encoder, limit, tokens: [[start, end], ...] in characters, kept: characters that are read, cut: the rest}"""
        offsets = [list(o) for o in self.tokenizer.encode(text, add_special_tokens=False).offsets]
        kept = len(text) if len(offsets) <= self.limit else offsets[self.limit][0]
        return {"encoder": self.name, "limit": self.limit, "tokens": offsets, "kept": kept, "cut": text[kept:]}

    def shorten(self, text: str) -> str:
        """The text up to the last whole word that is read."""
        found = self.read(text)
        if not found["cut"]:
            return text
        kept = text[: found["kept"]]
        whole = kept if text[found["kept"] - 1 : found["kept"]].isspace() else kept.rpartition(" ")[0]
        return (whole or kept).rstrip(" ,;")


def encoders(source: Source) -> list[Encoder]:
    """The tokenizers of a base's files, in the order of its encoders. Raises BaseProblem."""
    folders = sorted(p for p in source.folder.glob("tokenizer*") if p.is_dir())
    found = [_load(folder, (folder / "tokenizer_config.json").stat().st_mtime_ns) for folder in folders
             if (folder / "tokenizer_config.json").is_file()]
    if not found:
        raise BaseProblem(f"{source.name} has no tokenizer that can be read here")
    return found


@lru_cache(maxsize=16)
def _load(folder: Path, stamp: int) -> Encoder:
    import tokenizers

    config = storage.read_json(folder / "tokenizer_config.json") or {}
    try:
        if (folder / "tokenizer.json").is_file():
            made = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            made = _clip(folder, config)
    except Exception as error:  # tokenizers raises plain Exception for a bad file
        raise BaseProblem(f"{folder.name} cannot be read ({str(error)[:200]}): repair or replace its files") from None
    made.no_truncation()
    made.no_padding()
    most = config.get("model_max_length") or 77
    limit = (most if most < ENDLESS else 512) - made.num_special_tokens_to_add(False)
    return Encoder(folder.name, int(limit), made)


def _clip(folder: Path, config: dict[str, Any]) -> Any:
    """CLIP's tokenizer from vocab.json and merges.txt, as transformers' CLIPTokenizer builds it."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab, merges = models.BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    begin = _word(config.get("bos_token"), "<|startoftext|>")
    end = _word(config.get("eos_token"), "<|endoftext|>")
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, continuing_subword_prefix="", end_of_word_suffix="</w>",
                                unk_token=_word(config.get("unk_token"), end)))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_CLIP), behavior="removed", invert=True),
         pre_tokenizers.ByteLevel(add_prefix_space=False)])
    made.add_special_tokens([begin, end])  # written out in a caption they are one token each
    made.post_processor = processors.RobertaProcessing((end, vocab[end]), (begin, vocab[begin]), False, False)
    return made


def _word(given: Any, default: str) -> str:
    return given.get("content", default) if isinstance(given, dict) else given or default
