"""extauthz: Envoy external authorization, decided by Rego policies in a local OPA."""

__version__ = "0.1.0"
