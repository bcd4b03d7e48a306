package compat.policies.faulty

# Two rules that disagree: OPA calls it a conflict, and the evaluation fails.
result if input.attributes.request.http.path != "/ok"

result := false if input.attributes.request.http.path == "/conflict"
