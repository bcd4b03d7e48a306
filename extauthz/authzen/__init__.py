"""OpenID AuthZEN Authorization API 1.0: the same questions, asked by applications and test tools over HTTP.

`question` reads what is asked, `evaluator` puts it to the policy stage that Envoy's Checks go through; the HTTPS
binding is `api.evaluations`. Source: https://openid.net/specs/authorization-api-1_0.html
"""
