# METADATA
# title: The guards that every action has
# description: In the order of the layers. Domains append their own attribute guards.
package extauthz.baseline

import data.extauthz.abac.environment
import data.extauthz.abac.purpose
import data.extauthz.abac.region
import data.extauthz.abac.resource
import data.extauthz.abac.tenant
import data.extauthz.rbac.inheritance
import data.extauthz.rbac.permission
import data.extauthz.rbac.separation
import data.extauthz.workload.boundary
import data.extauthz.workload.scope

# METADATA
# description: For resources that belong to a tenant.
tenant_bound := [
	boundary.outcome,
	scope.outcome,
	inheritance.outcome,
	permission.outcome,
	separation.outcome,
	resource.outcome,
	tenant.outcome,
	region.outcome,
	purpose.outcome,
	environment.outcome,
]

# METADATA
# description: For resources of the platform itself, such as models.
platform := [
	boundary.outcome,
	inheritance.outcome,
	permission.outcome,
	separation.outcome,
	resource.outcome,
	purpose.outcome,
	environment.outcome,
]
