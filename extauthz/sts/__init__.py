"""The security token service: exchange (RFC 8693), introspection (7662), revocation (7009), metadata (8414)."""
