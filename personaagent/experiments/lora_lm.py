"""An open model that is fine-tuned for one user at a time: LoRA (Hu et al., 2021).

The weights stay as they are, and beside them lies one small adapter, which is exchanged from user
to user. Adapters are kept in memory only, so that nothing learned from a user outlives the process:
an adapter on disk would be a copy of the history that erasure had to know.

`AdaptedEngine` lets DSPy ask it as every other LM, so what is fine-tuned is metered, budgeted and
read with the same code as what it is compared with.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dspy import lm15

from personaagent.errors import LMError
from personaagent.lm.capabilities import Known
from personaagent.lm.connection import EMBEDDED_TOP_LOGPROBS
from personaagent.lm.embedded import to_chat
from personaagent.lm.model import PersonaLM
from personaagent.memory.lru import LRU

if TYPE_CHECKING:
    import torch


RANK = ALPHA = 8
DROPOUT = 0.05
MODULES = ("q_proj", "v_proj")
DECAY = 0.01
WARMUP = 0.1  # of the updates
LARGEST_GRADIENT = 0.3
SEED = 0
LONGEST_PROMPT, LONGEST_TARGET = 2048, 512  # tokens of a training example
ADAPTERS_BYTES = 256 << 20  # some sixty users of a 1.5B model

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an adapter is trained.

    Attributes:
        rate: the highest learning rate; it rises to it in a tenth of the updates, then falls.
        epochs: how often every example is seen.
        batch: examples an update.
        latest: at most so many examples, the last ones.
    """

    rate: float = 1e-4
    epochs: int = 2
    batch: int = 4
    latest: int = 64


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation, and what is to be learned as its next message."""

    messages: Messages
    target: str


@dataclass(frozen=True, slots=True)
class Adapter:
    """A user's own weights, by parameter; `key` names what they were trained on."""

    key: str
    weights: Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Completion:
    """The most probable answer, token by token.

    Attributes:
        text: the answer.
        prompt: tokens of the conversation.
        tokens: tokens of the answer, the end included.
        scores: of each token of the answer the most probable alternatives, best first: (id, text,
            log-probability).
        ended: whether it came to its end.
    """

    text: str
    prompt: int
    tokens: int
    scores: tuple[tuple[tuple[int, str, float], ...], ...]
    ended: bool


class AdaptedModel:
    """A model with room for one adapter. Threads take turns, to train as well as to ask."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        import peft
        import torch

        config = peft.LoraConfig(
            r=RANK,
            lora_alpha=ALPHA,
            lora_dropout=DROPOUT,
            target_modules=list(MODULES),
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft's use of transformers
            torch.manual_seed(SEED)
            self._model = peft.get_peft_model(model, config).eval()
        self._tokenizer, self._end = tokenizer, int(tokenizer.eos_token_id)
        self._room = {n: p for n, p in self._model.named_parameters() if p.requires_grad}
        self._adapters = LRU[str, Adapter](ADAPTERS_BYTES)
        self._lock = threading.Lock()
        self.untrained = Adapter("", self._taken_out())
        """Answers exactly as the model does, and is where training starts."""

    def adapter(self, examples: Sequence[Example], recipe: Recipe) -> Adapter:
        """What the same examples train, once for as long as it is kept; `untrained` without any."""
        examples = examples[-recipe.latest :]
        if not examples:
            return self.untrained
        content = json.dumps([[asdict(one) for one in examples], asdict(recipe)])
        key = hashlib.sha256(content.encode()).hexdigest()
        with self._lock:
            kept = self._adapters.get(key)
            if kept is None:
                kept = Adapter(key, self._trained(examples, recipe))
                cost = sum(tensor.nbytes for tensor in kept.weights.values())
                self._adapters.keep(key, kept, cost)
            return kept

    def complete(
        self, messages: Messages, adapter: Adapter, *, limit: int, alternatives: int = 1
    ) -> Completion:
        """The most probable next message; a final one of the assistant is continued.

        Args:
            messages: OpenAI-style, `role` and `content`.
            adapter: whose answer.
            limit: the longest answer, in tokens.
            alternatives: how many are scored for every token.

        Raises:
            LMError: the tokenizer knows no chat.
        """
        import torch

        said: list[int] = []
        scores: list[list[tuple[int, float]]] = []
        with self._lock, torch.no_grad():
            self._put_in(adapter)
            prompt = self._prompt(messages)
            step, cache = torch.tensor([prompt]), None
            while len(said) < limit and self._end not in said[-1:]:
                # The position as a tensor: as a number it makes torch copy the whole output layer.
                last = torch.tensor([step.shape[1] - 1])
                out = self._model(
                    input_ids=step, cache=cache, use_cache=limit > 1, logits_to_keep=last
                )
                top = torch.log_softmax(out.logits[0, -1].float(), -1).topk(alternatives)
                scores.append(list(zip(top.indices.tolist(), top.values.tolist(), strict=True)))
                said.append(scores[-1][0][0])
                step, cache = torch.tensor([said[-1:]]), out.cache
            decode = self._tokenizer.decode
            return Completion(
                decode(said, skip_special_tokens=True),
                len(prompt),
                len(said),
                tuple(tuple((n, decode([n]), p) for n, p in one) for one in scores),
                said[-1:] == [self._end],
            )

    def _trained(self, examples: Sequence[Example], recipe: Recipe) -> dict[str, torch.Tensor]:
        import torch

        encoded = [self._encoded(one) for one in examples]
        updates = recipe.epochs * math.ceil(len(encoded) / recipe.batch)
        rising = max(1, round(WARMUP * updates))
        room = list(self._room.values())
        optimizer = torch.optim.AdamW(room, lr=recipe.rate, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda at: min((at + 1) / rising, (updates - at) / max(1, updates - rising)),
        )
        draw = random.Random(SEED)
        self._put_in(self.untrained)
        self._model.train()
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                torch.manual_seed(SEED)  # for the dropout
                for _ in range(recipe.epochs):
                    draw.shuffle(encoded)
                    for start in range(0, len(encoded), recipe.batch):
                        batch = encoded[start : start + recipe.batch]
                        tokens = sum(len(target) for _, target in batch)
                        for prompt, target in batch:  # one by one: no padding, little memory
                            (self._loss(prompt, target) / tokens).backward()
                        torch.nn.utils.clip_grad_norm_(room, LARGEST_GRADIENT)
                        optimizer.step()
                        schedule.step()
                        optimizer.zero_grad()
        finally:
            optimizer.zero_grad()
            self._model.eval()
        return self._taken_out()

    def _loss(self, prompt: list[int], target: list[int]) -> torch.Tensor:
        """-log p(target | prompt), summed over the target's tokens."""
        import torch

        before_each = torch.arange(len(prompt) - 1, len(prompt) + len(target) - 1)
        logits = self._model(
            input_ids=torch.tensor([prompt + target]), use_cache=False, logits_to_keep=before_each
        ).logits[0]
        return torch.nn.functional.cross_entropy(
            logits.float(), torch.tensor(target), reduction="sum"
        )

    def _encoded(self, example: Example) -> tuple[list[int], list[int]]:
        """Prompt and target as token ids; a prompt that is too long loses its middle."""
        prompt = self._prompt(example.messages)
        if len(prompt) > LONGEST_PROMPT:
            prompt = prompt[: LONGEST_PROMPT // 2] + prompt[-LONGEST_PROMPT // 2 :]
        target = self._tokenizer(example.target, add_special_tokens=False)["input_ids"]
        return prompt, [*target[:LONGEST_TARGET], self._end]

    def _prompt(self, messages: Messages) -> list[int]:
        continued = messages[-1]["role"] == "assistant"
        try:
            ids: list[int] = self._tokenizer.apply_chat_template(
                list(messages),
                add_generation_prompt=not continued,
                continue_final_message=continued,
                return_dict=False,
            )
        except ValueError as error:
            raise LMError(
                f"the tokenizer cannot form a chat: {error}; give an instruction-tuned model"
            ) from error
        return ids

    def _put_in(self, adapter: Adapter) -> None:
        import torch

        with torch.no_grad():
            for name, place in self._room.items():
                place.copy_(adapter.weights[name])

    def _taken_out(self) -> dict[str, torch.Tensor]:
        return {name: place.detach().clone() for name, place in self._room.items()}


_LOADED: dict[Path, AdaptedModel] = {}
_LOCK = threading.Lock()


def loaded(path: Path) -> AdaptedModel:
    """The model of this process for a GGUF file, or a folder in Hugging Face's format; one at a
    time, for it takes 2 bytes a weight, or 4 where the CPU does not compute in bfloat16.

    Raises:
        LMError: it cannot be loaded.
    """
    path = path.expanduser().resolve()
    with _LOCK:
        if path not in _LOADED:
            _LOADED.clear()
            _LOADED[path] = _load(path)
        return _LOADED[path]


def _load(path: Path) -> AdaptedModel:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where: dict[str, Any] = {"local_files_only": True}
    how: dict[str, Any] = {"dtype": torch.bfloat16 if _computes_in_bfloat16() else torch.float32}
    folder = path
    if path.is_file():
        folder, where = path.parent, {**where, "gguf_file": path.name}
        how["quantization_config"] = GgufConfig(dequantize=True)  # quantized it cannot be trained
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **where)
        model = AutoModelForCausalLM.from_pretrained(folder, **where, **how)
        return AdaptedModel(model, tokenizer)
    except Exception as error:  # whatever transformers, peft and torch raise on a bad file
        raise LMError(
            f"{path}: cannot be loaded for fine-tuning: {error}. It takes a GGUF file or a folder "
            f"in Hugging Face's format of a model that transformers knows, with {MODULES[0]} and "
            f"{MODULES[1]} in its attention"
        ) from error


def _computes_in_bfloat16() -> bool:
    """Where the CPU does, training takes about a third of the time; elsewhere it is emulated."""
    import torch

    able = torch.cpu.get_capabilities()
    return any(able.get(name) for name in ("amx_bf16", "avx512_bf16"))


PROVIDER = "lora"
LONGEST_ANSWER = 512


class AdaptedEngine:
    """Answers with the most probable tokens, whatever the temperature.

    Args:
        model: the open model.
        adapter: whose answers.
    """

    supports_function_calling = False
    supports_reasoning = False
    supports_response_schema = False
    supported_params = frozenset({"max_tokens", "temperature", "logprobs", "top_logprobs"})

    def __init__(self, model: AdaptedModel, adapter: Adapter) -> None:
        self.model, self.adapter = model, adapter

    def complete(self, request: lm15.Request) -> lm15.Response:
        """One answer.

        Raises:
            lm15.UnsupportedFeatureError: native tools, or something other than text.
        """
        body = to_chat(request)
        said = self.model.complete(
            body["messages"],
            self.adapter,
            limit=body.get("max_tokens", LONGEST_ANSWER),
            alternatives=body.get("top_logprobs") or 1,
        )
        return lm15.Response(
            id=None,
            model=request.model,
            message=lm15.Message.assistant(said.text),
            finish_reason="stop" if said.ended else "length",
            usage=lm15.Usage(input_tokens=said.prompt, output_tokens=said.tokens),
            logprobs=_scored(said) if body.get("logprobs") else None,
        )


def adapted_lm(like: PersonaLM, model: AdaptedModel, adapter: Adapter) -> PersonaLM:
    """The LM of a user: it counts into the meter and budget of the LM that it stands in for, and is
    read where that one is read."""
    identity = replace(
        like.identity,
        spec=f"{PROVIDER}/{like.spec}",
        api_base=None,
        fingerprint=f"{like.fingerprint}+{adapter.key}",
        retries=0,
        price=0.0,
    )
    read = EMBEDDED_TOP_LOGPROBS if like.reads_likelihoods else 0
    return PersonaLM(
        f"{PROVIDER}/{adapter.key[:12] or 'untrained'}",
        identity,
        meter=like.meter,
        budget=like.budget,
        known=Known({"alternatives": read, "prefills": True}, name=like.spec, fixed=True),
        cache=False,
        temperature=0.0,
        max_tokens=like.kwargs.get("max_tokens"),
        engine=AdaptedEngine(model, adapter),
    )


def _scored(said: Completion) -> tuple[lm15.TokenLogprob, ...]:
    tops = [
        tuple(lm15.TopLogprob(text, p, tuple(text.encode()), n) for n, text, p in alternatives)
        for alternatives in said.scores
    ]
    return tuple(
        lm15.TokenLogprob(top[0].token, top[0].logprob, top[0].bytes, top[0].token_id, top)
        for top in tops
    )
