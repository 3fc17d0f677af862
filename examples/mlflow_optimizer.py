"""An MLflow prompt optimizer that registers only what won: python examples/mlflow_optimizer.py

`mlflow.genai.optimize_prompts` registers whatever its optimizer returns. This one has an LM rewrite
a prompt by half of the records and returns it only where it wins its bets on the other half.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow.genai.optimize.optimizers import BasePromptOptimizer
from mlflow.genai.optimize.types import PromptOptimizerOutput

from personaagent.optimizers import BETS
from personaagent.optimizers.evidence import ALPHA, e_value


class RegisterWhatWon(BasePromptOptimizer):
    """One rewrite of each prompt, accepted by PersonaAgent's test.

    Args:
        rewrite: an LM that writes a new prompt from the present one and feedback.
    """

    def __init__(self, rewrite: Callable[[str, str], str]) -> None:
        self.rewrite = rewrite

    def optimize(
        self,
        eval_fn: Any,
        train_data: list[dict[str, Any]],
        target_prompts: dict[str, str],
        enable_tracking: bool = True,
    ) -> PromptOptimizerOutput:
        """The prompts that won; MLflow registers no other."""
        del enable_tracking
        writing, judging = train_data[::2], train_data[1::2]
        champions, won = dict(target_prompts), dict[str, str]()
        first = before = eval_fn(champions, judging)
        for name, prompt in target_prompts.items():
            feedback = "\n".join(
                f"{one.inputs}: answered {one.outputs}, expected {one.expectations}"
                for one in eval_fn(champions, writing)
                if (one.score or 0) < 1
            )
            if not feedback:
                continue
            candidate = {**champions, name: self.rewrite(prompt, feedback)}
            after = eval_fn(candidate, judging)
            saved = [
                (new.score or 0) - (old.score or 0) for old, new in zip(before, after, strict=True)
            ]
            if e_value(saved, BETS["rewrite"]) >= 1 / ALPHA:
                champions, before, won[name] = candidate, after, candidate[name]
        return PromptOptimizerOutput(won, _mean(first), _mean(before))


def _mean(records: list[Any]) -> float:
    return sum(one.score or 0 for one in records) / max(1, len(records))


def main(written: str = "Dogs are travel. {{message}}") -> list[Any]:
    """A toy: the answer is right where the prompt says what dogs are. What was registered."""
    import mlflow
    from mlflow.genai.scorers import scorer

    @scorer
    def right(outputs: str, expectations: dict[str, Any]) -> bool:
        return outputs == expectations["expected_response"]

    prompt = mlflow.genai.register_prompt("persona", "Be kind. {{message}}")

    def predict(message: str) -> str:
        asked = mlflow.genai.load_prompt(f"prompts:/persona/{prompt.version}").format(
            message=message
        )
        return "travel" if "travel" in asked else "work"

    records = [
        {"inputs": {"message": f"dog {n}"}, "expectations": {"expected_response": "travel"}}
        for n in range(12)
    ]
    done = mlflow.genai.optimize_prompts(
        predict_fn=predict,
        train_data=records,
        prompt_uris=[prompt.uri],
        optimizer=RegisterWhatWon(lambda _prompt, _feedback: written),
        scorers=[right],
        enable_tracking=False,
    )
    print([one.template for one in done.optimized_prompts])
    return list(done.optimized_prompts)


if __name__ == "__main__":
    main()
