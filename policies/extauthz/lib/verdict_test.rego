package extauthz.lib.verdict_test

import data.extauthz.lib.verdict

test_every_pass_allows if {
	verdict.decide(["pass", "pass"], {"mask": ["iban"]}, 5) == {"allow": true, "obligations": {"mask": ["iban"]}, "ttl": 5}
}

test_one_denial_denies_in_order if {
	decision := verdict.decide(["pass", tenant, "pass", region], {}, 5)
	decision.allow == false
	[reason.code | some reason in decision.reasons] == ["attribute.tenant_mismatch", "attribute.region_mismatch"]
	decision.ttl == verdict.deny_ttl
}

test_reason_is_complete if {
	verdict.reason(tenant) == {
		"code": "attribute.tenant_mismatch",
		"message": "The resource belongs to another tenant.",
		"remedy": "Use a resource of your own tenant.",
		"detail": "x",
	}
}

test_no_outcome_denies if verdict.decide([], {}, 5).allow == false

test_only_pass_passes if {
	every outcome in {true, 1, "PASS", "", null, {}, ["pass"], {"pass": true}} {
		verdict.decide(["pass", outcome], {}, 5).allow == false
	}
}

test_unknown_code_still_denies if {
	verdict.decide([{"code": "attribute.new", "detail": ""}], {}, 5).reasons == [{
		"code": "attribute.new",
		"message": "",
		"remedy": "",
		"detail": "",
	}]
}

tenant := {"code": "attribute.tenant_mismatch", "detail": "x"}

region := {"code": "attribute.region_mismatch", "detail": "y"}
