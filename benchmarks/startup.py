"""How long the command line takes to be there: python -m benchmarks.startup [--quick]"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np


def seconds(*command: str) -> float:
    """Wall clock of one run of this Python with these arguments."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once instead of five times")
    rounds = 1 if parser.parse_args().quick else 5
    print("| what | p50 |\n|---|---|")
    for name, command in (
        ("python alone", ("-c", "")),
        ("personaagent --help (target < 1 s)", ("-m", "personaagent", "--help")),
    ):
        took = [seconds(*command) for _ in range(rounds)]
        print(f"| {name} | {np.median(took):.2f} s |", flush=True)


if __name__ == "__main__":
    main()
