"""The demonstration platform: four zones behind real Envoys, and the attempts that must fail.

Everything here is for development: its certificate authority and its token issuer keep their keys in the run folder
and end with the run.
"""
