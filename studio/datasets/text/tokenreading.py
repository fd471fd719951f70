"""The process that reads a base's tokenizers (a limited one): how many tokens a caption has, and where each lies.

Requests: {encoders: true} -> {encoders: [{name, limit}]}; {name, texts} -> {lengths}; {name, text} -> {tokens: [[start,
end], ...] in characters}; or {problem} in words. A tokenizer is a stranger's program of rules: it may never end.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from studio import limited, storage
from studio.messages import Message

MEMORY = 4 << 30  # bytes of address space
SECONDS = 60  # of processor time a request
FILE_BYTES = 64 << 20  # the largest file of a tokenizer that is read; the largest known ones have half of it
_CLIP = (r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
ENDLESS = 100_000  # transformers writes 1e30 for "no limit"


class Unreadable(Exception):
    """A tokenizer that cannot be used; the message says which and why."""


def answer(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One request; see above. The base's tokenizers lie in `tokenizer*/` of `request["base"]`."""
    base = Path(request["base"])
    try:
        if request.get("encoders"):
            folders = sorted(path for path in base.glob("tokenizer*") if (path / "tokenizer_config.json").is_file())
            return {"encoders": [{"name": path.name, "limit": load(path)[1]} for path in folders]}
        tokenizer, _ = load(base / request["name"])
        if "texts" in request:
            encoded = tokenizer.encode_batch_fast(request["texts"], add_special_tokens=False)
            return {"lengths": [len(one.ids) for one in encoded]}
        places = tokenizer.encode(request["text"], add_special_tokens=False).offsets
        return {"tokens": [list(place) for place in places]}
    except Unreadable as problem:
        return {"problem": str(problem)}
    except MemoryError:
        return {"problem": Message("it needs more than {size} GB of memory", size=MEMORY >> 30)}


@lru_cache(maxsize=4)
def load(folder: Path) -> tuple[Any, int]:
    """The tokenizer in a folder, and how many tokens of a caption its encoder takes. Raises Unreadable."""
    import tokenizers

    large = [path.name for path in folder.iterdir() if path.is_file() and path.stat().st_size > FILE_BYTES]
    if large:
        raise Unreadable(Message("{folder}/{name} is larger than {size} MB: repair or replace it", folder=folder.name,
                                 name=large[0], size=FILE_BYTES >> 20))
    try:
        config = storage.read_json(folder / "tokenizer_config.json") or {}
        if (folder / "tokenizer.json").is_file():
            tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            tokenizer = _clip(folder, config)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        most = config.get("model_max_length") or 77
        return tokenizer, int((most if most < ENDLESS else 512) - tokenizer.num_special_tokens_to_add(False))
    except Exception as error:  # tokenizers raises plain Exception for a bad file
        raise Unreadable(Message("{name} cannot be read ({why}): repair or replace its files", name=folder.name,
                                 why=str(error)[:200])) from None


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


if __name__ == "__main__":
    limited.serve(answer, memory=MEMORY, seconds=SECONDS, file_bytes=0)
