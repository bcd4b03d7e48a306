"""Signing keys and what they sign: the one interface behind which a key may be memory, an encrypted file, or an HSM."""
