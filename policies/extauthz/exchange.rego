# METADATA
# title: Tokens for other services
# description: |
#   Asked by the token service before it issues anything to a workload: a token in exchange for one that the workload
#   received, or one of its own. That a token only narrows, the token service sees to; here stands who may have which.
package extauthz.exchange

import data.extauthz.lib.caller
import data.extauthz.lib.verdict

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May this workload have this token?
# entrypoint: true
decision := verdict.decide(outcomes, {}, 0)

default outcomes := [{"code": "role.action_unknown", "detail": "extauthz.exchange"}]

outcomes := [calling, audience, subject, kind, scope, purpose, depth] if {
	input.action.name in {"token.exchange", "token.issue"}
}

row := data.extauthz.tables.exchanges[input.context.workload.id][input.resource.id] if {
	input.resource.type == "audience"
}

calling := {"code": "workload.unregistered", "detail": "not in tables/workloads"} if {
	not caller.registered
} else := "pass" if {
	caller.registered.environment == input.context.environment
} else := {"code": "workload.environment", "detail": "registered for another environment"}

audience := "pass" if {
	row
} else := {"code": "workload.exchange_denied", "detail": "see tables/exchanges"}

# On somebody's behalf, or in its own name: never the one under the name of the other.
subject := "pass" if {
	input.action.name == "token.exchange"
	input.subject.type in row.subjects
	input.subject.id != input.context.workload.id
} else := "pass" if {
	input.action.name == "token.issue"
	input.subject.type == "workload"
	input.subject.type in row.subjects
	input.subject.id == input.context.workload.id
} else := {"code": "role.exchange_subject", "detail": "see subjects in tables/exchanges"}

kind := "pass" if {
	input.context.exchange.kind in row.kinds
} else := {"code": "attribute.exchange_kind", "detail": "see kinds in tables/exchanges"}

scope := "pass" if {
	is_array(input.context.exchange.scopes)
	every name in input.context.exchange.scopes {
		name in row.scopes
	}
} else := {"code": "attribute.exchange_scope", "detail": "see scopes in tables/exchanges"}

purpose := "pass" if {
	input.context.exchange.purpose in row.purposes
} else := {"code": "attribute.exchange_purpose", "detail": "see purposes in tables/exchanges"}

depth := "pass" if {
	is_number(input.context.exchange.depth)
	input.context.exchange.depth >= 0
	input.context.exchange.depth <= row.depth
} else := {"code": "attribute.exchange_depth", "detail": "see depth in tables/exchanges"}
