"""The security token service: exchange (RFC 8693), introspection (RFC 7662), revocation (RFC 7009), metadata (RFC 8414)."""
