"""`extauthz authority`: the issuer. It attests, signs, exchanges, introspects and revokes; no Check waits for it."""
