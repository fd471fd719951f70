"""The process that reads a base's tokenizers (a limited one): how many tokens a caption has, and where each lies.

Requests: {encoders: true} -> {encoders: [{name, limit}]}; {name, texts} -> {lengths}; {name, text} -> {tokens: [[start,
end], ...] in characters}; or {problem} in words. A tokenizer is a stranger's program of rules: it may never end.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from studio import limited, storage
from studio.errors import StudioError
from studio.messages import JsonObject, Message

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MEMORY = 4 << 30  # bytes of address space
SECONDS = 60  # of processor time a request
FILE_BYTES = 64 << 20  # the largest file of a tokenizer that is read; the largest known ones have half of it
_CLIP = (r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
ENDLESS = 100_000  # transformers writes 1e30 for "no limit"


class Request(TypedDict, total=False):
    """What is asked of the tokenizers in `tokenizer*/` of the folder `base`."""

    base: str
    encoders: bool
    name: str
    texts: list[str]
    text: str


class TokenizerFacts(TypedDict):
    """A tokenizer, and how many tokens of a caption its encoder takes."""

    name: str
    limit: int


class Answer(TypedDict, total=False):
    """One of these, by what was asked."""

    encoders: list[TokenizerFacts]
    lengths: list[int]
    tokens: list[list[int]]
    problem: str


class TokenizerConfig(TypedDict, total=False):
    """What is read of tokenizer_config.json. A token is a text or {"content": text}."""

    model_max_length: float
    bos_token: str | dict[str, str] | None
    eos_token: str | dict[str, str] | None
    unk_token: str | dict[str, str] | None


class UnreadableTokenizer(StudioError):
    """A tokenizer that cannot be used; the message says which and why."""


def answer(message: JsonObject, folder: Path) -> JsonObject:
    """The answer to one request; see above."""
    request = cast("Request", message)
    base = Path(request["base"])
    try:
        return {**_answer(request, base)}
    except UnreadableTokenizer as problem:
        return {"problem": str(problem)}
    except MemoryError:
        return {"problem": Message("it needs more than {size} GB of memory", size=MEMORY >> 30)}


def _answer(request: Request, base: Path) -> Answer:
    """Raises UnreadableTokenizer, MemoryError."""
    if request.get("encoders"):
        known: list[TokenizerFacts] = []
        for path in sorted(base.glob("tokenizer*")):
            if (path / "tokenizer_config.json").is_file():
                known.append({"name": path.name, "limit": load(path)[1]})
        return {"encoders": known}
    tokenizer, _ = load(base / request["name"])
    if "texts" in request:
        encoded = tokenizer.encode_batch_fast(request["texts"], add_special_tokens=False)
        return {"lengths": list(map(len, encoded))}
    places = tokenizer.encode(request["text"], add_special_tokens=False).offsets
    return {"tokens": list(map(list, places))}


@lru_cache(maxsize=4)
def load(folder: Path) -> tuple[Tokenizer, int]:
    """The tokenizer in a folder, and how many tokens of a caption its encoder takes. Raises UnreadableTokenizer."""
    import tokenizers

    large = [path.name for path in folder.iterdir() if path.is_file() and path.stat().st_size > FILE_BYTES]
    if large:
        raise UnreadableTokenizer(Message("{folder}/{name} is larger than {size} MB: repair or replace it",
                                          folder=folder.name, name=large[0], size=FILE_BYTES >> 20))
    try:
        config = cast("TokenizerConfig", storage.read_json(folder / "tokenizer_config.json") or {})
        if (folder / "tokenizer.json").is_file():
            tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            tokenizer = _clip(folder, config)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        most = config.get("model_max_length") or 77
        if most >= ENDLESS:
            most = 512
        return tokenizer, int(most - tokenizer.num_special_tokens_to_add(False))
    except Exception as error:  # tokenizers raises plain Exception for a bad file
        raise UnreadableTokenizer(Message("{name} cannot be read ({why}): repair or replace its files",
                                          name=folder.name, why=str(error)[:200])) from None


def _clip(folder: Path, config: TokenizerConfig) -> Tokenizer:
    """CLIP's tokenizer from vocab.json and merges.txt, as transformers' CLIPTokenizer builds it."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab, merges = models.BPE.read_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    begin = _word(config.get("bos_token"), "<|startoftext|>")
    end = _word(config.get("eos_token"), "<|endoftext|>")
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, continuing_subword_prefix="",
                                     end_of_word_suffix="</w>", unk_token=_word(config.get("unk_token"), end)))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_CLIP), behavior="removed", invert=True),
         pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.add_special_tokens([begin, end])  # written out in a caption they are one token each
    tokenizer.post_processor = processors.RobertaProcessing((end, vocab[end]), (begin, vocab[begin]), False, False)
    return tokenizer


def _word(token: str | dict[str, str] | None, default: str) -> str:
    return token.get("content", default) if isinstance(token, dict) else token or default


if __name__ == "__main__":
    limited.serve(answer, memory=MEMORY, seconds=SECONDS, file_bytes=0)
