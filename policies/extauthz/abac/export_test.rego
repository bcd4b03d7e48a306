package extauthz.abac.export_test

import data.extauthz.abac.export
import data.extauthz.lib.samples_test as samples

test_exportable_passes if export.outcome == "pass" with input as classified("confidential")

test_restricted_stays if {
	every value in {"restricted", "secret", "", null, ["public"]} {
		export.outcome.code == "attribute.export_refused" with input as classified(value)
	}
	export.outcome.code == "attribute.export_refused" with input as {}
}

classified(name) := samples.bend(samples.dataset, "/resource/properties/dataset/classification", name)
