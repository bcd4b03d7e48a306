package compat.policies.rich

default result := {
	"allowed": false,
	"headers": {"x-ext-auth-allow": "no"},
	"body": "Unauthorized Request",
	"http_status": 401,
}

result := {
	"allowed": true,
	"headers": {"x-validated-by": "my-security-checkpoint", "x-user": input.source_principal},
	"request_headers_to_remove": ["one-auth-header"],
	"response_headers_to_add": {"x-foo": "bar"},
	"query_parameters_to_set": {"tenant": input.parsed_query.tenant},
	"query_parameters_to_remove": ["debug"],
	"dynamic_metadata": {"seen": {"path": concat("/", input.parsed_path)}},
} if {
	input.attributes.request.http.headers.authorization == "Bearer good"
}
