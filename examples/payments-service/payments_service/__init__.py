"""A service that trusts what Envoy tells it: whoever reaches it has been authorized."""
