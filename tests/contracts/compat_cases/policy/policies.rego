# Policies as opa-envoy-plugin's users write them.
package compat.policies.people

import input.attributes.request.http as http_request

default allow := false

result := allow

allow if {
	http_request.method == "GET"
	glob.match("/people*", [], http_request.path)
}

allow if {
	http_request.method == "POST"
	input.parsed_path == ["people"]
	input.parsed_body.firstname != "Bob"
}
