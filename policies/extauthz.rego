# METADATA
# title: extauthz policies
# description: |
#   A layered library: workload, then role, then attribute. Thin entrypoints (payments, approvals, models, features,
#   datasets, main) list the guards of each action. Everything below is checked against the schema of the input.
# scope: subpackages
# schemas:
#   - input: schema.input
package extauthz
