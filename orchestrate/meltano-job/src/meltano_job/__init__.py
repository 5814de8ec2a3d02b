"""One Meltano job for an orchestrator."""
