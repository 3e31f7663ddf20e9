"""The tiny model's own tokenizer: byte-level BPE, one token per digit, sign and digit together."""

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MODEL_MAX_LENGTH = 1024

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """The think tags become tokens, but not special ones: decoding must keep them for the judge."""
    tokenizer = Tokenizer(models.BPE())
    pieces = Regex(r"[+-][0-9]|[0-9]| ?[A-Za-z]+| ?[^A-Za-z0-9\s]+|\s")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(
        [AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=MODEL_MAX_LENGTH,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def render_prompt(question: str) -> str:
    """What ``CHAT_TEMPLATE`` gives for one user turn, without the cost of running it."""
    return f"{START}user\n{question}{END}\n{START}assistant\n"


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    identity = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(identity, int), token
    return identity
