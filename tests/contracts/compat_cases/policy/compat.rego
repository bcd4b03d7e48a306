# The policy of the compatibility cases. A case says in its context extensions what it wants of it:
# `result`: this JSON is the result; `echo`: the whole input comes back as the body of a denial;
# `policy`: a package below data.compat.policies decides. Without any of them the decision is undefined.
package compat

asked := object.get(input.attributes, "contextExtensions", {})

decision := json.unmarshal(asked.result)

decision := {"allowed": false, "body": json.marshal(input)} if asked.echo

decision := data.compat.policies[asked.policy].result
