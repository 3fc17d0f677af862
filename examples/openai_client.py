"""A persona in a plain OpenAI client: the exported Markdown is the system message.

personaagent export --user amira --out personas
python examples/openai_client.py personas/amira-inbox-v0.md \\
    "Which folder: work, money, home or family? The car needs new tyres." --model gpt-4o-mini

A local server works as well: --base-url http://localhost:11434/v1 --model llama3. The key comes
from OPENAI_API_KEY.
"""

import argparse
import os
from pathlib import Path

from openai import OpenAI

parser = argparse.ArgumentParser(description="Answer as a user, with a plain OpenAI client.")
parser.add_argument("persona", type=Path, help="the .md file that 'personaagent export' wrote")
parser.add_argument("query")
parser.add_argument("--model", default="gpt-4o-mini")
parser.add_argument("--base-url", default=os.environ.get("OPENAI_BASE_URL"))
arguments = parser.parse_args()

client = OpenAI(
    base_url=arguments.base_url, api_key=os.environ.get("OPENAI_API_KEY", "no-key-needed")
)
completion = client.chat.completions.create(
    model=arguments.model,
    messages=[
        {"role": "system", "content": arguments.persona.read_text("utf-8")},
        {"role": "user", "content": arguments.query},
    ],
)
print(completion.choices[0].message.content)
