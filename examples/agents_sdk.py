"""A persona in the OpenAI Agents SDK: the exported Markdown is the agent's instructions.

pip install openai-agents
python examples/agents_sdk.py personas/amira-inbox-v0.md \\
    "Which folder: work, money, home or family? The car needs new tyres." --model gpt-4o-mini

A local server works as well: --base-url http://localhost:11434/v1 --model llama3. The key comes
from OPENAI_API_KEY.
"""

import argparse
import os
from pathlib import Path

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI

parser = argparse.ArgumentParser(description="Answer as a user, with the OpenAI Agents SDK.")
parser.add_argument("persona", type=Path, help="the .md file that 'personaagent export' wrote")
parser.add_argument("query")
parser.add_argument("--model", default="gpt-4o-mini")
parser.add_argument("--base-url", default=os.environ.get("OPENAI_BASE_URL"))
arguments = parser.parse_args()

set_tracing_disabled(True)  # the SDK would send every run to OpenAI, whichever server answers
client = AsyncOpenAI(
    base_url=arguments.base_url, api_key=os.environ.get("OPENAI_API_KEY", "no-key-needed")
)
agent = Agent(
    name="persona",
    instructions=arguments.persona.read_text("utf-8"),
    model=OpenAIChatCompletionsModel(arguments.model, openai_client=client),
)
print(Runner.run_sync(agent, arguments.query).final_output)
