"""`connect`: the accepted forms, the refused ones, secrets, and a real HTTP server."""

import os
import re
import subprocess
import sys

import dspy
import pytest
from stand_in import completion

from personaagent.errors import LMError, WeightsError
from personaagent.lm import connect, read_answer

KEY = "sk-very-secret"


@pytest.mark.parametrize("spec", ["", "  ", None, 7, "gpt-4o", "nobody/knows", "openai/"])
def test_an_unknown_spec_names_the_accepted_forms(spec):
    with pytest.raises(LMError, match=r"'embedded'.*\.gguf.*openai/gpt-4o-mini.*api_base"):
        connect(spec)


@pytest.mark.parametrize(
    "wrong",
    [{"slots": 0}, {"slots": 1.5}, {"retries": -1}, {"timeout": 0}],
)
def test_an_impossible_setting_is_an_lm_error(server, wrong):
    with pytest.raises(LMError):
        connect("tiny", api_base=server.url, **wrong)("hi")


def test_an_address_needs_a_model_name_and_http(server):
    with pytest.raises(LMError, match="needs the name of a model"):
        connect(api_base=server.url)
    with pytest.raises(LMError, match="not an http"):
        connect("tiny", api_base="localhost:8000")
    with pytest.raises(LMError, match="api_key=") as info:
        connect("tiny", api_base=server.url.replace("//", "//me:hidden@"))
    assert "hidden" not in str(info.value)


def test_a_gguf_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere\.gguf"):
        connect(str(tmp_path / "nowhere.gguf"))


@pytest.mark.parametrize("model", ["openai/gpt-5", "openai/gpt-5-mini", "openai/o3-mini"])
def test_a_reasoning_model_connects_by_name_with_room_to_think(model):
    lm = connect(model, api_key=KEY)
    now = lm.capabilities
    assert (now.temperature, now.alternatives, now.limit) == (False, 0, "max_completion_tokens")
    assert now.room >= 16_000
    assert lm.dump_state()["max_tokens"] == 512


def test_a_provider_name_connects_without_a_call():
    lm = connect("openai/gpt-4o-mini", api_key=KEY)
    assert lm.spec == lm.fingerprint == "openai/gpt-4o-mini"
    assert (lm.reads_likelihoods, lm.capabilities.alternatives) == (True, 20)
    assert not connect("anthropic/claude-sonnet-4-6", api_key=KEY).reads_likelihoods
    assert connect("ollama_chat/llama3").spec == "ollama_chat/llama3"


def test_likelihoods_can_be_declared(server):
    assert not connect("tiny", api_base=server.url, likelihoods=False).reads_likelihoods
    assert connect("ollama_chat/llama3", likelihoods=True).reads_likelihoods


def test_a_server_is_asked_under_the_openai_prefix_with_a_dummy_key(server, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    lm = connect("tiny", api_base=server.url, temperature=0.2, max_tokens=9)
    assert lm("hi") == ["hello"]
    assert lm.fingerprint == f"openai/tiny@{server.url}"
    body = server.bodies[0]
    assert (body["model"], body["temperature"]) == ("tiny", 0.2)
    assert 9 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert server.keys == ["Bearer no-key-needed"]
    used = lm.meter.snapshot()
    assert (used.calls, used.input_tokens, used.output_tokens, used.unpriced) == (1, 7, 3, 1)


def test_a_server_gets_the_schema_of_a_typed_answer(server):
    server.answers = [(200, completion('{"answer": 3}'))]
    lm = connect("tiny", api_base=server.url)
    with dspy.context(lm=lm, adapter=dspy.JSONAdapter()):
        assert dspy.Predict("question -> answer: int")(question="1+2").answer == 3
    assert server.bodies[0]["response_format"]["type"] == "json_schema"


def test_a_500_is_retried_and_then_answered(server):
    server.answers = [(500, {"error": {"message": "down"}}), (200, completion())]
    lm = connect("tiny", api_base=server.url, cache=False)
    assert lm("hi") == ["hello"]
    assert lm.meter.snapshot().retries == 1
    assert len(server.bodies) == 2


def test_likelihoods_are_read_from_a_server(server):
    top = [{"token": "No", "logprob": -2.0}, {"token": "Yes", "logprob": -0.2}]
    scored = [{"token": "Yes", "logprob": -0.2, "bytes": None, "top_logprobs": top}]
    server.answers = [(200, completion("Yes", scored))]
    lm = connect("tiny", api_base=server.url)
    shares = read_answer(lm, [{"role": "user", "content": "Well?"}], ["no", "yes"]).distribution
    assert shares["yes"] > 0.8
    assert server.bodies[0]["top_logprobs"] == 20


def test_a_server_without_logprobs_gives_none(server):
    lm = connect("tiny", api_base=server.url)
    assert (
        read_answer(lm, [{"role": "user", "content": "Well?"}], ["no", "yes"]).distribution is None
    )


def test_a_server_that_is_not_there_is_an_lm_error(server):
    url = re.sub(r":\d+/", ":1/", server.url)
    lm = connect("tiny", api_base=url, retries=0)
    with pytest.raises(LMError, match=r"tiny: .*Remedy: check that the server is running"):
        lm("hi")


def test_a_key_is_never_shown(server):
    refusal = {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "bad_key"}}
    server.answers = [(401, refusal)]
    lm = connect("tiny", api_base=server.url + "?token=hidden", api_key=KEY)
    with pytest.raises(LMError) as info:
        lm("hi")
    shown = [str(info.value), repr(info.value), repr(info.value.__cause__), repr(lm)]
    shown += [lm.fingerprint, str(lm.dump_state()), str(lm.history)]
    for text in shown:
        assert KEY not in text
        assert "hidden" not in text


def test_an_lm_is_saved_and_loaded_without_its_key(server):
    lm = connect("tiny", api_base=server.url, api_key=KEY, temperature=0.3, retries=1, top_p=0.5)
    loaded = dspy.BaseLM.load_state(lm.dump_state(), allow_custom_lm_class=True)
    assert loaded.dump_state() == lm.dump_state()
    assert (loaded.fingerprint, loaded.kwargs["top_p"]) == (lm.fingerprint, 0.5)


def test_a_program_with_its_lm_is_saved_and_loaded(server, tmp_path):
    program = dspy.Predict("question -> answer")
    program.set_lm(connect("tiny", api_base=server.url))
    program.save(tmp_path / "program.json")
    other = dspy.Predict("question -> answer")
    other.load(tmp_path / "program.json", allow_unsafe_lm_state=True)
    assert other.lm.fingerprint == program.lm.fingerprint


def test_importing_the_package_is_fast_and_loads_no_dspy():
    code = (
        "import personaagent.lm, sys; sys.exit('dspy' in sys.modules or 'xllamacpp' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ, timeout=60)


def test_the_package_offers_its_names():
    import personaagent.lm

    for name in personaagent.lm.__all__:
        assert callable(getattr(personaagent.lm, name))
    with pytest.raises(AttributeError, match="nothing"):
        _ = personaagent.lm.nothing


def test_dspys_own_retries_do_not_multiply_ours(server):
    server.answers = [(503, {"error": {"message": "none left"}})]
    lm = connect("tiny", api_base=server.url, retries=1, cache=False)
    with pytest.raises(LMError, match=r"attempts: 2.*none left") as info:
        lm("hi")
    assert len(server.bodies) == 2
    assert isinstance(info.value.__cause__, dspy.LMServerError)


def test_what_is_known_of_models_comes_without_the_network_and_without_a_word():
    code = (
        "import socket; socket.socket.connect = None; from personaagent.lm import connect; "
        "lm = connect('openai/gpt-5-mini', api_key='key-of-a-test'); print(lm.capabilities.room)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LITELLM")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "16384\n", "")
