package extauthz.lib.classification_test

import data.extauthz.lib.classification
import data.extauthz.lib.samples_test as samples

test_rank if {
	classification.rank("restricted", false) == 3
	classification.rank("restricted", true) == 2
	classification.rank("public", true) == 0
}

test_unknown_class_has_no_rank if {
	every name in {"secret", "", null, 3} {
		count([rank | rank := classification.rank(name, true)]) == 0
		count([rank | rank := classification.rank(name, false)]) == 0
	}
}

test_admitted if {
	classification.admitted("restricted", true, "staging")
	classification.admitted("restricted", false, "prod")
	classification.admitted("internal", false, "staging")
	count([1 | classification.admitted("confidential", false, "staging")]) == 0
	count([1 | classification.admitted("secret", false, "moon")]) == 0
}

test_masked_is_a_literal_true if {
	classification.masked with input as samples.dataset
	every value in {false, "true", 1, null} {
		classification.masked == false with input as samples.bend(samples.dataset, "/resource/properties/masked", value)
	}
}

test_classes_and_environments_name_each_other if {
	every class in data.extauthz.tables.classifications {
		data.extauthz.tables.classifications[class.masked_as].rank <= class.rank
	}
	every environment in data.extauthz.tables.environments {
		data.extauthz.tables.classifications[environment.max_classification]
	}
}
