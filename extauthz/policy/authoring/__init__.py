"""What policy authors work with: findings with the Rego line, lints, evaluation, explanations, templates.

Nothing of this package is imported by a server.
"""
