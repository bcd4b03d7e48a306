# METADATA
# title: Calls to other zones
# description: |
#   Asked by a zone's own Envoy before a call leaves it, where the caller's token is exchanged for the next zone's.
#   What may be done there is the next zone's to decide.
package extauthz.egress

import data.extauthz.lib.verdict
import data.extauthz.workload.egress

default decision := {"allow": false, "ttl": 1}

# METADATA
# title: May this workload call that zone?
# entrypoint: true
decision := verdict.decide(outcomes, {}, 10)

default outcomes := [{"code": "role.action_unknown", "detail": "extauthz.egress"}]

outcomes := [egress.outcome] if input.action.name == "zone.call"
