"""The HTTP API of a server, as a worker answers it: AuthZEN evaluations, denial tickets, the staged rollout.

The parent takes the bytes and knows nothing of them; a worker authenticates and answers. Everything is off by default.
"""
