package extauthz.abac.tenant_test

import data.extauthz.abac.tenant
import data.extauthz.lib.samples_test as samples

test_own_tenant_passes if tenant.outcome == "pass" with input as samples.transfer

test_foreign_tenant if {
	tenant.outcome.code == "attribute.tenant_mismatch" with input as for_tenant("globex")
}

test_foreign_tenant_does_not_say_whether_it_exists if {
	tenant.outcome.code == "attribute.tenant_mismatch" with input as for_tenant("nowhere")
	tenant.outcome.code == "attribute.tenant_mismatch" with input as for_tenant("umbrella")
}

test_unknown_tenant if {
	tenant.outcome.code == "attribute.tenant_unknown" with input as both("nowhere")
}

test_suspended_tenant if {
	tenant.outcome.code == "attribute.tenant_suspended" with input as both("umbrella")
}

test_missing_or_malformed if {
	every pointer in {"/resource/properties/tenant", "/subject/properties/tenant", "/subject/type"} {
		every value in {null, "", 7, true, ["acme"], {"acme": 1}} {
			tenant.outcome.code == "attribute.missing" with input as samples.bend(samples.transfer, pointer, value)
		}
		tenant.outcome.code == "attribute.missing" with input as samples.without(samples.transfer, pointer)
	}
}

test_workload_has_the_tenants_of_its_registration if {
	tenant.outcome == "pass" with input as samples.dataset
	tenant.outcome.code == "attribute.tenant_mismatch" with input as samples.bend(
		samples.dataset,
		"/resource/properties/tenant", "globex",
	)
}

test_star_is_no_tenant if {
	crossing := samples.bend(samples.dataset, "/context/workload", samples.gateway)
	tenant.outcome.code == "attribute.tenant_mismatch" with input as crossing
	tenant.outcome.code == "attribute.tenant_unknown" with input as samples.bend(
		crossing,
		"/resource/properties/tenant", "*",
	)
}

for_tenant(name) := samples.bend(samples.transfer, "/resource/properties/tenant", name)

both(name) := samples.bend(for_tenant(name), "/subject/properties/tenant", name)
