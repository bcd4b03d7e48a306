# A policy as it runs in opa-envoy-plugin, unchanged: its input document, its result.
# Who: the bearer token (HS256; the key below is for this example only). What: people may be read by guests and
# administrators, and added by administrators, who may not add somebody of their own name.
package envoy.authz

import input.attributes.request.http as http_request

default result := {
	"allowed": false,
	"http_status": 403,
	"headers": {"content-type": "application/json"},
	"body": "{\"error\": \"not allowed\"}",
}

result := {
	"allowed": false,
	"http_status": 401,
	"headers": {"www-authenticate": "Bearer"},
	"body": "sign in first",
} if not claims

result := {
	"allowed": true,
	"headers": {"x-current-user": claims.sub, "x-role": claims.role},
	"request_headers_to_remove": ["authorization"],
	"query_parameters_to_remove": ["debug"],
	"response_headers_to_add": {"cache-control": "no-store"},
	"dynamic_metadata": {"user": claims.sub},
} if permitted

permitted if {
	claims.role in {"guest", "admin"}
	http_request.method == "GET"
	input.parsed_path[0] == "people"
}

permitted if {
	claims.role == "admin"
	http_request.method == "POST"
	input.parsed_path == ["people"]
	not input.truncated_body
	lower(input.parsed_body.firstname) != lower(claims.sub)
}

claims := payload if {
	[_, encoded] := split(http_request.headers.authorization, " ")
	[valid, _, payload] := io.jwt.decode_verify(encoded, {"alg": "HS256", "secret": "example-only"})
	valid
}
