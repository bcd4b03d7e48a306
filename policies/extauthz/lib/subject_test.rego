package extauthz.lib.subject_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.lib.subject

test_user_is_what_the_token_says if {
	subject.roles == {"wire-operator"} with input as samples.transfer
	subject.tenants == {"acme"} with input as samples.transfer
	subject.regions == {"eu"} with input as samples.transfer
	subject.purposes == {"payment"} with input as samples.transfer
	subject.clearance == 2 with input as samples.transfer
}

test_service_is_what_the_token_says if {
	subject.roles == {"wire-operator"} with input as samples.bend(samples.transfer, "/subject/type", "service")
}

test_workload_is_what_it_was_registered_as if {
	claiming := samples.bend(samples.dataset, "/subject/properties", samples.alice.properties)
	subject.roles == {"model-trainer"} with input as claiming
	subject.tenants == {"acme"} with input as claiming
	subject.purposes == {"training"} with input as claiming
	subject.clearance == 2 with input as claiming
}

test_unknown_subject_is_nothing if {
	every value in {"robot", "", null, ["user"]} {
		document := samples.bend(samples.transfer, "/subject/type", value)
		subject.roles == set() with input as document
		subject.tenants == set() with input as document
		subject.regions == set() with input as document
		subject.purposes == set() with input as document
		not subject.clearance with input as document
	}
}

test_unregistered_workload_is_nothing if {
	document := samples.bend(samples.dataset, "/context/workload/id", "spiffe://bank.example/rogue")
	subject.roles == set() with input as document
	subject.tenants == set() with input as document
	not subject.clearance with input as document
}

test_unknown_roles_do_not_count if {
	subject.roles == {"wire-operator"} with input as samples.bend(
		samples.transfer,
		"/subject/properties/roles", ["wire-operator", "root", 7, null, {}],
	)
}
