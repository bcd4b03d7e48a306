# METADATA
# title: What the subject is
# description: |
#   Users and services are what their token says. A workload that acts in its own name is what it was registered as:
#   nothing in its request can widen that. Every rule is a set, empty when nothing usable is known.
package extauthz.lib.subject

import data.extauthz.lib.caller

named if input.subject.type in {"user", "service"}

workload if input.subject.type == "workload"

# METADATA
# description: Roles that exist. A `roles` claim that is not an array grants nothing.
roles contains role if {
	named
	is_array(input.subject.properties.roles)
	some role in input.subject.properties.roles
	data.extauthz.tables.roles[role]
}

roles contains role if {
	workload
	some role in caller.registered.roles
	data.extauthz.tables.roles[role]
}

tenants contains input.subject.properties.tenant if {
	named
	known(input.subject.properties.tenant)
}

tenants contains tenant if {
	workload
	some tenant in caller.registered.tenants
}

regions contains input.subject.properties.region if {
	named
	known(input.subject.properties.region)
}

regions contains region if {
	workload
	some region in caller.registered.regions
}

purposes contains input.subject.properties.purpose if {
	named
	known(input.subject.properties.purpose)
}

purposes contains purpose if {
	workload
	some purpose in caller.registered.purposes
}

# METADATA
# description: The rank of the subject's clearance; undefined when it has none that is known.
clearance := data.extauthz.tables.classifications[input.subject.properties.clearance].rank if named

clearance := data.extauthz.tables.classifications[caller.registered.clearance].rank if workload

known(value) if {
	is_string(value)
	value != ""
}
