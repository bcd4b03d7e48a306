# METADATA
# title: From outcomes to the decision object
# description: |
#   A guard answers with one outcome: "pass", or {"code", "detail"}. Everything that is not "pass" denies.
#   Outcomes are listed in the order of the layers (workload, role, attribute); the first reason decides.
package extauthz.lib.verdict

# How long a denial may be reused, seconds. Short: it ends as soon as the cause is gone.
deny_ttl := 1

# METADATA
# title: The decision
# description: |
#   No outcome at all is a denial. An undefined argument leaves the decision undefined, and the entrypoint's default denies.
decide(outcomes, obligations, ttl) := {"allow": true, "obligations": obligations, "ttl": ttl} if {
	passed(outcomes)
} else := {
	"allow": false,
	"reasons": [reason(outcome) | some outcome in outcomes; outcome != "pass"],
	"ttl": deny_ttl,
}

passed(outcomes) if {
	count(outcomes) > 0
	every outcome in outcomes {
		outcome == "pass"
	}
}

reason(outcome) := {
	"code": outcome.code,
	"message": text(outcome.code, "message"),
	"remedy": text(outcome.code, "remedy"),
	"detail": outcome.detail,
}

# A code without text still denies, under its own name.
text(code, field) := data.extauthz.tables.reasons[code][field] if {
	data.extauthz.tables.reasons[code]
} else := ""
