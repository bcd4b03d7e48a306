# METADATA
# title: Export
# description: What may leave the platform is a matter of the dataset's classification, masked or not.
package extauthz.abac.export

outcome := "pass" if {
	data.extauthz.tables.classifications[input.resource.properties.dataset.classification].exportable == true
} else := {"code": "attribute.export_refused", "detail": "see exportable in tables/classifications"}
