"""A persona in LangChain: the exported Markdown opens the prompt of a chain.

pip install langchain-openai
python examples/langchain_chat.py personas/amira-inbox-v0.md \\
    "Which folder: work, money, home or family? The car needs new tyres." --model gpt-4o-mini

A local server works as well: --base-url http://localhost:11434/v1 --model llama3. The key comes
from OPENAI_API_KEY.
"""

import argparse
import os
from pathlib import Path

from langchain_core.messages import SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

parser = argparse.ArgumentParser(description="Answer as a user, with LangChain.")
parser.add_argument("persona", type=Path, help="the .md file that 'personaagent export' wrote")
parser.add_argument("query")
parser.add_argument("--model", default="gpt-4o-mini")
parser.add_argument("--base-url", default=os.environ.get("OPENAI_BASE_URL"))
arguments = parser.parse_args()

# A message and not a template, so that braces in the persona stay braces.
persona = SystemMessage(arguments.persona.read_text("utf-8"))
model = ChatOpenAI(
    model=arguments.model,
    base_url=arguments.base_url,
    api_key=os.environ.get("OPENAI_API_KEY", "no-key-needed"),
)
prompt = ChatPromptTemplate.from_messages([persona, ("user", "{query}")])
print((prompt | model | StrOutputParser()).invoke({"query": arguments.query}))
