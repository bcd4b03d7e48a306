# METADATA
# title: Tenants do not cross
# description: A foreign tenant is told that it is foreign, never whether it exists.
package extauthz.abac.tenant

import data.extauthz.lib.subject

outcome := {"code": "attribute.missing", "detail": "subject tenant"} if {
	count(subject.tenants) == 0
} else := {"code": "attribute.missing", "detail": "resource.properties.tenant"} if {
	not given
} else := {"code": "attribute.tenant_mismatch", "detail": detail} if {
	not own
} else := {"code": "attribute.tenant_unknown", "detail": "not in tables/tenants"} if {
	not status
} else := "pass" if {
	status == "active"
} else := {"code": "attribute.tenant_suspended", "detail": "see status in tables/tenants"}

given if subject.known(input.resource.properties.tenant)

own if input.resource.properties.tenant in subject.tenants

status := data.extauthz.tables.tenants[input.resource.properties.tenant].status

detail := sprintf("subject of %v", [{tenant | some tenant in subject.tenants; data.extauthz.tables.tenants[tenant]}])
