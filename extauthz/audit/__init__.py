"""The audit trail: every decision, issuance, revocation and change, in files that show when somebody touched them."""
