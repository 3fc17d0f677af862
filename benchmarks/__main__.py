"""All benchmarks, each in a process of its own: python -m benchmarks [--quick]"""

from __future__ import annotations

import argparse
import subprocess
import sys

NAMES = (
    "startup", "agent", "ingest", "retrieval", "fleet", "waiting", "redteam", "drift", "screening",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="in small, about a minute")
    quick = ["--quick"] if parser.parse_args().quick else []
    failed = []
    for name in NAMES:
        print(f"\n### {name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *quick]).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
