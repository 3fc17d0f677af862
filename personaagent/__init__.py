"""PersonaAgent: LLM agents whose per-user persona is learned from the user's own history."""
