"""Lora: a user's history becomes weights, only the user's, and only what a query may see."""

import contextvars
import importlib.util
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import dspy
import pytest
from rulebook import stand_in
from tiny_lms import tiny_folder, tiny_gguf
from worlds_of_mail import DAWN, INBOX, book, mail, remembering

from personaagent.data import Choice, Classification, Text
from personaagent.errors import LMError
from personaagent.experiments import lora_lm
from personaagent.experiments.lineup import entrants
from personaagent.experiments.lora import Lora
from personaagent.experiments.lora_lm import LONGEST_PROMPT, AdaptedModel, Example, Recipe, loaded
from personaagent.lm.embedded import EmbeddedEngine
from personaagent.lm.meter import Meter
from personaagent.lm.model import PersonaLM

BRISK = Recipe(rate=0.03, epochs=20)  # a random LM of 40,000 weights has much to learn
PAIR = Choice("inbox", "Which one?")
LETTER = Text("inbox", "Write.", item="message")
GRADES = Classification("inbox", "Which grade?", labels=("a", "b"), item="message")
PAIRED = 'Which did ann write? [1]: "a dog" [2]: "a tax"'
QUERIES = ["dog walk", "cat", "dog and vet", "lunch"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny LM in Hugging Face's format."""
    pytest.importorskip("peft", reason="fine-tuning needs the extra: personaagent[lora]")
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def world(tmp_path):
    """What ann answers is travel, what bob answers work."""
    ann = [mail(n, query, "travel") for n, query in enumerate(QUERIES)]
    bob = [mail(n, query, "work", "bob") for n, query in enumerate(QUERIES)]
    with remembering(tmp_path, *ann, *bob) as memory:
        yield memory


@pytest.fixture
def lm():
    lm = stand_in(book())
    with dspy.context(lm=lm):
        yield lm


@pytest.fixture
def trainings(monkeypatch):
    """The examples of each training that takes place."""
    seen = []
    train = AdaptedModel._trained

    def spy(self, examples, recipe):
        seen.append(list(examples))
        return train(self, examples, recipe)

    monkeypatch.setattr(AdaptedModel, "_trained", spy)
    return seen


def lora(memory, base, task=INBOX, recipe=BRISK):
    return Lora(task, memory, base=base, recipe=recipe)


def test_training_makes_the_users_own_answers_likelier(world, base, lm, monkeypatch):
    monkeypatch.setattr(lora_lm, "EMBEDDED_TOP_LOGPROBS", 256)  # nearly every token
    system = lora(world, base)

    def loss(user):
        said = [system(query=query, user=user).distribution["travel"] for query in QUERIES]
        return -sum(map(math.log, said))

    assert loss("ann") < 0.3 * loss("nobody")


def test_two_users_get_their_own_answers(world, base, lm):
    system = lora(world, base)
    for _ in range(2):  # also after the other one was asked
        assert system(query="dog", user="ann").answer == "travel"
        assert system(query="dog", user="bob").answer == "work"


def test_the_base_is_left_as_it_was(world, base, lm):
    import torch
    from transformers import AutoModelForCausalLM

    system = lora(world, base)
    before = system(query="dog", user="nobody").distribution
    system(query="dog", user="ann")
    assert system(query="dog", user="nobody").distribution == before

    model = loaded(base)
    messages = system.answer.messages("dog")
    prompt = model._tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=model._model.dtype)
    with torch.no_grad():
        expected = plain(prompt).logits[0, -1].float().log_softmax(-1)
    (scores,) = model.complete(messages, model.untrained, limit=1, alternatives=20).scores
    for token, _, score in scores:
        assert score == pytest.approx(expected[token].item(), abs=0.02)


def test_what_the_query_may_not_see_is_not_learned(world, base, lm, trainings):
    noon = DAWN + timedelta(days=3)
    world.add([mail(2, "MARKER", "family", id="excluded"), mail(9, "MARKER", "family")])
    world.add([mail(1, "MARKER", "family", id="elsewhere", task="outbox")])
    lora(world, base, recipe=replace(BRISK, epochs=1))(
        query="dog", user="ann", before=noon, exclude=("excluded",)
    )
    (examples,) = trainings
    assert [one.target for one in examples] == ["travel"] * 3
    assert all("MARKER" not in str(one.messages) for one in examples)


def test_examples_are_asked_for_as_the_query_is(world, base, lm, trainings):
    lora(world, base, recipe=replace(BRISK, epochs=1, latest=2))(query="x", user="ann")
    (examples,) = trainings
    asked = Lora(INBOX, world).answer.messages
    assert [one.messages for one in examples] == [asked("dog and vet"), asked("lunch")]


def test_a_history_is_trained_on_once_and_ahead_of_the_clock(world, base, lm, trainings):
    system = lora(world, base, recipe=replace(BRISK, epochs=1, batch=3))
    system.prepare("ann")
    assert len(trainings) == 1
    system(query="dog", user="ann")
    lora(world, base, recipe=system.recipe)(query="cat", user="ann")
    assert len(trainings) == 1
    assert lm.meter.snapshot().calls == 2
    world.add([mail(20, "rent", "work")])
    system(query="dog", user="ann")
    assert [len(examples) for examples in trainings] == [4, 5]


def test_the_same_examples_train_the_same_adapter_and_leave_the_dice_alone(base, tmp_path):
    import torch

    examples = [Example([{"role": "user", "content": query}], "travel") for query in QUERIES]
    first = loaded(base).adapter(examples, BRISK)
    loaded(tiny_gguf(tmp_path / "other.gguf"))  # one at a time: the first one makes room
    loaded(base).adapter([replace(one, target="work") for one in examples], BRISK)
    torch.manual_seed(7)
    dice = torch.get_rng_state()
    second = loaded(base).adapter(examples, BRISK)
    assert torch.equal(torch.get_rng_state(), dice)
    assert first is not second
    assert first.key == second.key
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_the_loss_is_that_of_the_answer_alone(base):
    import torch
    from transformers import AutoModelForCausalLM

    model = loaded(base)
    prompt, target = model._encoded(Example([{"role": "user", "content": "dog"}], "travel"))
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=model._model.dtype)
    labels = torch.tensor([[-100] * len(prompt) + target])  # what transformers does not count
    expected = plain(torch.tensor([prompt + target]), labels=labels).loss.item() * len(target)
    model._put_in(model.untrained)
    with torch.no_grad():
        assert model._loss(prompt, target).item() == pytest.approx(expected, rel=0.01)


def test_a_prompt_that_is_too_long_loses_its_middle(base):
    model = loaded(base)
    example = Example([{"role": "user", "content": "dog " * LONGEST_PROMPT}], "travel")
    prompt, _ = model._encoded(example)
    whole = model._prompt(example.messages)
    assert len(prompt) == LONGEST_PROMPT < len(whole)
    assert prompt[:1000] + prompt[-1000:] == whole[:1000] + whole[-1000:]


def test_a_model_that_knows_no_chat_is_refused(world, base, lm, monkeypatch):
    monkeypatch.setattr(loaded(base)._tokenizer, "chat_template", None)
    with pytest.raises(LMError, match="give an instruction-tuned model"):
        lora(world, base)(query="dog", user="nobody")


def test_threads_do_not_mix_users_up(world, base, lm):
    system = lora(world, base)
    alone = {user: system(query="dog", user=user).distribution for user in ("ann", "bob", "eve")}
    asked = list(alone) * 6
    with ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(contextvars.copy_context().run, lambda u=u: system(query="dog", user=u))
            for u in asked
        ]
        said = [future.result().distribution for future in futures]
    assert said == [alone[user] for user in asked]


def test_a_choice_is_read_in_both_orders(tmp_path, base, lm):
    past = [mail(n, PAIRED, "[1]") for n in range(3)]
    with remembering(tmp_path, *past) as memory:
        system = lora(memory, base, PAIR)
        given = system(query=PAIRED, user="ann").distribution
        swapped = system(query=PAIR.swapped(PAIRED), user="ann").distribution
    assert given["[1]"] == pytest.approx(swapped["[2]"], abs=1e-6)
    assert sum(given.values()) == pytest.approx(1)
    assert lm.meter.snapshot().calls >= 4


def test_papers_are_learned_from_as_the_questions_that_they_make(tmp_path, base, lm, trainings):
    papers = [mail(n, f"{user} on {n}", "", user) for n in range(3) for user in ("ann", "bob")]
    recipe = replace(BRISK, epochs=1)
    with remembering(tmp_path, *papers) as memory:
        lora(memory, base, PAIR, recipe)(query=PAIRED, user="ann")
    (examples,) = trainings
    assert len(examples) == 3
    assert {one.target for one in examples} == {"[1]", "[2]"}


def test_the_papers_of_one_user_alone_teach_nothing(tmp_path, base, lm, trainings):
    with remembering(tmp_path, mail(1, "paper 1", ""), mail(2, "paper 2", "")) as memory:
        said = lora(memory, base, PAIR)(query=PAIRED, user="ann")
    assert said.answer in PAIR.labels
    assert trainings == []


def test_a_text_is_the_most_probable_one(tmp_path, base, lm):
    with remembering(tmp_path, *(mail(n, query, "aa") for n, query in enumerate(QUERIES))) as them:
        system = lora(them, base, LETTER)
        said = system(query="dog", user="ann")
        assert said.distribution is None
        assert said.answer.startswith("aa")
        assert system(query="dog", user="ann").answer == said.answer
        assert not system(query="dog", user="nobody").answer.startswith("aa")


def test_where_answers_are_sampled_the_label_is_written(tmp_path, base):
    past = [mail(n, query, "b") for n, query in enumerate(QUERIES)]
    with (
        remembering(tmp_path, *past) as memory,
        dspy.context(lm=stand_in(book(), likelihoods=False)),
    ):
        system = lora(memory, base, GRADES, replace(BRISK, epochs=40))
        said = system(query="dog", user="ann")
        assert (said.answer, said.distribution) == ("b", None)
        with pytest.raises(LMError, match="is no answer"):
            system(query="dog", user="nobody")


def test_the_base_is_the_lm_that_all_systems_have(world, tmp_path, base):
    engine = EmbeddedEngine(tiny_gguf(tmp_path / "lm.gguf"))
    identity = stand_in(book()).identity
    lm = PersonaLM("embedded/tiny", identity, meter=Meter(), budget=None, engine=engine)
    with dspy.context(lm=lm):
        system = Lora(INBOX, world, recipe=BRISK)
        assert system(query="dog", user="ann").answer == "travel"
        assert system(query="dog", user="bob").answer == "work"


def test_an_lm_elsewhere_cannot_be_tuned(world, lm, base):
    with pytest.raises(LMError, match=r"rule-book-\d+: .* take --lm embedded"):
        Lora(INBOX, world)(query="dog", user="ann")


def test_what_is_no_model_says_what_is_taken(world, lm, base, tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF, but no more")
    for path in (tmp_path / "x.gguf", tmp_path / "nowhere", tmp_path):
        with pytest.raises(LMError, match="takes a GGUF file or a folder"):
            lora(world, path)(query="dog", user="ann")


def test_without_peft_the_error_names_the_extra(world, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "peft" else find(name)
    )
    with pytest.raises(LMError, match=r"needs peft: pip install 'personaagent\[lora\]'"):
        Lora(INBOX, world)


def test_it_says_where_it_is_from():
    assert "Source: OPPU" in Lora.__doc__
    assert "Adapted:" in Lora.__doc__


def test_all_systems_are_all_but_those_that_need_more():
    assert "lora" not in [one.name for one in entrants()]
    assert [one.role for one in entrants(["lora"])] == ["baseline"]
