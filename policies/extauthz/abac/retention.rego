# METADATA
# title: Retention
# description: |
#   A dataset is read only while its oldest row may be kept: as long as the dataset says, and never longer than its
#   classification allows. Days.
package extauthz.abac.retention

outcome := {"code": "attribute.missing", "detail": "resource.properties.dataset.age_days or retention_days"} if {
	not measured
} else := "pass" if {
	input.resource.properties.dataset.age_days <= input.resource.properties.dataset.retention_days
	input.resource.properties.dataset.age_days <= longest
} else := {"code": "attribute.retention_exceeded", "detail": "see retention_days in tables/classifications"}

measured if {
	is_number(input.resource.properties.dataset.age_days)
	input.resource.properties.dataset.age_days >= 0
	is_number(input.resource.properties.dataset.retention_days)
	input.resource.properties.dataset.retention_days >= 0
}

longest := data.extauthz.tables.classifications[input.resource.properties.dataset.classification].retention_days
