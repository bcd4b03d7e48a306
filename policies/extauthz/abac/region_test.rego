package extauthz.abac.region_test

import data.extauthz.abac.region
import data.extauthz.lib.samples_test as samples

test_own_region_passes if region.outcome == "pass" with input as samples.transfer

test_foreign_region if region.outcome.code == "attribute.region_mismatch" with input as in_region("uk")

test_tenant_may_not_live_there if {
	region.outcome.code == "attribute.region_not_allowed" with input as samples.bend(
		in_region("us"),
		"/subject/properties/region", "us",
	)
}

test_unknown_tenant_lives_nowhere if {
	region.outcome.code == "attribute.region_not_allowed" with input as samples.bend(
		samples.transfer,
		"/resource/properties/tenant", "nowhere",
	)
}

test_missing_or_malformed if {
	every pointer in {"/resource/properties/region", "/subject/properties/region"} {
		every value in {null, "", 7, ["eu"]} {
			region.outcome.code == "attribute.missing" with input as samples.bend(samples.transfer, pointer, value)
		}
		region.outcome.code == "attribute.missing" with input as samples.without(samples.transfer, pointer)
	}
}

test_workload_has_the_regions_of_its_registration if {
	region.outcome == "pass" with input as samples.dataset
	region.outcome.code == "attribute.region_mismatch" with input as samples.bend(
		samples.dataset,
		"/resource/properties/region", "uk",
	)
}

in_region(name) := samples.bend(samples.transfer, "/resource/properties/region", name)
