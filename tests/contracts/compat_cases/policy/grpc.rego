package compat.policies.grpc

default result := false

result if {
	input.parsed_path == ["bank.v1.Payments", "Create"]
	input.parsed_body.kind == "WIRE"
	to_number(input.parsed_body.amountCents) < 100000
}
