# METADATA
# title: The calling workload, as it is registered
package extauthz.lib.caller

# METADATA
# description: Undefined when there is no calling workload, or an unregistered one.
registered := data.extauthz.tables.workloads[input.context.workload.id]

# METADATA
# description: Whether the route let the caller in without a workload identity.
absent if not input.context.workload.id
