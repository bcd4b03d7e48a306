# METADATA
# title: What is missing or malformed denies, with a reason
package extauthz.missing_test

import data.extauthz.lib.samples_test as samples
import data.extauthz.main

# METADATA
# description: |
#   Of each allowed sample, the places without which it must be denied. Whatever is put there instead, of the wrong type
#   or meaning, must deny as well.
needed := {
	"transfer": (common | {"/resource/properties/amount", "/resource/properties/currency", class}),
	"approval": (common | {"/resource/properties/amount", "/resource/properties/created_by", "/subject/id", class}),
	"score": ((common | delegated) | {
		"/resource/properties/model/name",
		"/resource/properties/model/version",
		"/resource/properties/model/stage",
	}),
	"features": ((common | delegated) | {"/resource/properties/data_class", "/subject/properties/clearance", class}),
	"dataset": ((resource_only | delegated) | {
		"/resource/properties/masked",
		"/resource/properties/dataset/name",
		"/resource/properties/dataset/classification",
		"/resource/properties/dataset/retention_days",
		"/resource/properties/dataset/age_days",
	}),
}

class := "/resource/properties/transaction_type"

delegated := {"/context/workload/id"}

resource_only := {
	"/subject/type", "/action/name", "/resource/type", "/context/environment",
	"/resource/properties/tenant", "/resource/properties/region",
}

common := resource_only | {
	"/subject/properties/roles", "/subject/properties/tenant", "/subject/properties/region",
	"/subject/properties/purpose",
}

junk := [null, "", "*", "nonsense", -1, "0", [], {}, [[]], {"": ""}, false]

test_samples_are_allowed if {
	every name, _ in needed {
		main.decision.allow == true with input as samples[name]
	}
}

test_missing_denies_with_a_reason if {
	every name, pointers in needed {
		every pointer in pointers {
			decision := main.decision with input as samples.without(samples[name], pointer)
			decision.allow == false
			count(decision.reasons) > 0
		}
	}
}

test_junk_denies_with_a_reason if {
	every name, pointers in needed {
		every pointer in pointers {
			every value in junk {
				count(wrongly(name, pointer, value)) == 0
			}
		}
	}
}

# METADATA
# description: |
#   Another person's id, and a dataset's own name, are whatever they are: any text is right.
wrongly(name, pointer, value) := [decision |
	not is_free_text(pointer, value)
	decision := main.decision with input as samples.bend(samples[name], pointer, value)
	not denied(decision)
]

is_free_text(pointer, value) if {
	pointer in {"/resource/properties/created_by", "/subject/id", "/resource/properties/dataset/name"}
	is_string(value)
	value != ""
}

denied(decision) if {
	decision.allow == false
	count(decision.reasons) > 0
}

test_without_tables_nothing_is_allowed if {
	every name, _ in needed {
		main.decision.allow == false with input as samples[name] with data.extauthz.tables as {}
	}
}
