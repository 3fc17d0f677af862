"""PersonaAlignment against the optimizers that a DSPy user has, at the same budget of LM calls.

Everybody starts from the same persona, sees the same interactions, and answers through the same
reading. What they change: GEPA, MIPROv2 and SIMBA the text of the persona (SIMBA also demos),
BootstrapFewShot demos, PersonaAlignment the persona.
"""
