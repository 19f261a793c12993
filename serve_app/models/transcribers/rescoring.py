"""A batch's figures from one more pass of the decoder over what it wrote: the same ones whatever the search was.

Transformers' own scores depend on the kind of search, and on whether tokens were masked before or after the softmax.
"""

from dataclasses import dataclass, replace
from typing import Any

from serve_app.models.transcribers.tokens import window_text
from serve_app.stages import WindowText


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Tokens that are never written, and those that the text may not begin with."""

    always: list[int]
    first: list[int]


def scored(
    model: Any,
    tokenizer: Any,
    hidden: Any,
    prompt: list[int],
    made: list[list[int]],
    suppressed: Suppressed,
    language: str,
    temperature: float,
    token_probs: bool,
) -> list[WindowText]:
    """Return the texts with their figures; `hidden` is the encoder's output, `made` follows the prompt."""
    import torch

    ends = [row.index(tokenizer.eot) if tokenizer.eot in row else len(row) for row in made]
    written = torch.tensor([[*prompt, *row] for row in made], device=hidden.device)
    texts = []
    with torch.inference_mode():
        states = model.model(encoder_outputs=(hidden,), decoder_input_ids=written[:, :-1]).last_hidden_state
        for row, end, state in zip(made, ends, states, strict=True):  # one by one: a batch of logits takes gigabytes
            after = model.proj_out(state[len(prompt) - 1 :][: end + 1]).float()
            total = _masked(after, suppressed).log_softmax(-1)[range(len(after)), row[: len(after)]].sum().item()
            silence = _no_speech(model, tokenizer, state, prompt)
            text = window_text(tokenizer, row[:end], language, temperature, total / (end + 1), silence)
            texts.append(_with_tokens(text, after, tokenizer.eot) if token_probs else text)
    return texts


def _masked(logits: Any, suppressed: Suppressed) -> Any:
    masked = logits.clone()
    masked[:, suppressed.always] = float("-inf")
    masked[0, suppressed.first] = float("-inf")
    return masked


def _no_speech(model: Any, tokenizer: Any, state: Any, prompt: list[int]) -> float:
    """Return the probability of the no-speech token where the transcript starts, as openai-whisper reads it."""
    token = tokenizer.tokenizer.token_to_id("<|nospeech|>") or tokenizer.tokenizer.token_to_id("<|nocaptions|>")
    start = state[prompt.index(tokenizer.sot)]
    return float(model.proj_out(start).float().softmax(-1)[token].item())


def _with_tokens(text: WindowText, logits: Any, eot: int) -> WindowText:
    """Add each token's log-probability among all text tokens."""
    among = logits[: len(text.tokens), :eot].log_softmax(-1)
    return replace(text, token_logprobs=tuple(among[range(len(text.tokens)), list(text.tokens)].tolist()))
