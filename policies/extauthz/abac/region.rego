# METADATA
# title: Regions
# description: The subject works in the resource's region, and the tenant's data may live there.
package extauthz.abac.region

import data.extauthz.lib.subject

outcome := {"code": "attribute.missing", "detail": "subject region"} if {
	count(subject.regions) == 0
} else := {"code": "attribute.missing", "detail": "resource.properties.region"} if {
	not given
} else := {"code": "attribute.region_mismatch", "detail": "not a region of the subject"} if {
	not own
} else := "pass" if {
	input.resource.properties.region in data.extauthz.tables.tenants[input.resource.properties.tenant].regions
} else := {"code": "attribute.region_not_allowed", "detail": "see regions in tables/tenants"}

given if subject.known(input.resource.properties.region)

own if input.resource.properties.region in subject.regions
