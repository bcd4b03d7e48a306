"""opa-envoy-plugin's contract: its users' Rego runs unchanged under `policy.compat: opa-envoy-plugin`.

`document` builds their input, `result` reads their decision object, `pipeline` puts both around the engine.
The contract is CONTRACTS 2; where the plugin relies on a detail of Go's standard library (URL, MIME, JSON), the
module concerned says which, and keeps it.
"""
