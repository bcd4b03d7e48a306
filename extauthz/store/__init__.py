"""State that replicas of the authority share: one Protocol, SQLite by default, Redis where several replicas run."""
