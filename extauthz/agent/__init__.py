"""`extauthz agent`: attests one workload, keeps its SVID fresh, and hands it to Envoy and to SPIFFE clients."""
