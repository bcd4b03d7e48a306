"""The SPIFFE Workload API: its server, and the client with which any part of ours gets its own identity."""
