"""The certificate authority: X.509-SVIDs, JWT-SVIDs, trust bundles, and the rotation of the keys behind them."""
