package compat.policies.sets

result := {
	"allowed": true,
	"request_headers_to_remove": {"x-b", "x-a"},
	"headers": [{"x-role": role} | some role in {"teller", "auditor"}],
}
