"""Rules about `policy.compat`: nothing is written that would not be enforced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.config.checks.rule import Finding, error, routes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extauthz.config.model import Config

_PLUGIN = ("policy", "opa_envoy_plugin")


@error
def plugin_keys_need_the_compatibility(config: Config) -> Iterator[Finding]:
    if not config.policy.compat and config.policy.opa_envoy_plugin.model_fields_set:
        yield Finding(
            _PLUGIN,
            "opa-envoy-plugin's keys are given, but its contract is not asked for",
            "write `compat: opa-envoy-plugin` beside it, or remove the block",
        )


@error
def the_compatible_policy_is_there(config: Config) -> Iterator[Finding]:
    policy = config.policy
    own_opa = policy.engine == "sidecar" and not policy.sidecar.supervise
    if policy.compat and policy.path is None and policy.bundle is None and not own_opa:
        yield Finding(
            ("policy", "path"),
            "policy.compat has no policy to ask",
            "name the directory of the policy or a policy bundle, or set policy.sidecar.supervise to false and name an"
            " OPA of your own",
        )


@error
def plugin_and_server_agree(config: Config) -> Iterator[Finding]:
    """Two places for one thing: what the server block says goes first, so a contradiction would be silent."""
    plugin, server = config.policy.opa_envoy_plugin, config.server
    if not config.policy.compat:
        return
    if plugin.listen:  # else it has taken effect
        yield Finding((*_PLUGIN, "addr"), f"server.listen says {server.listen}", "keep one of the two")
    if "grpc_max_recv_msg_size" in plugin.model_fields_set and plugin.grpc_max_recv_msg_size != server.max_check:
        yield Finding(
            (*_PLUGIN, "grpc-max-recv-msg-size"),
            f"server.max_check says {server.max_check} bytes",
            "keep one of the two",
        )


@error
def compatible_routes_ask_for_what_they_get(config: Config) -> Iterator[Finding]:
    """The input document is the plugin's: what a route would add to ours would silently be missing."""
    if not config.policy.compat:
        return
    for place, route in routes(config):
        if route.attributes:
            yield Finding(
                (*place, "attributes"),
                "with policy.compat the policy's input has no collected attributes",
                "remove them, or move the route to a server without policy.compat",
            )
        if route.policy_headers:
            yield Finding(
                (*place, "policy_headers"),
                "with policy.compat the policy sets headers by its own result",
                "remove them",
            )


@error
def compatible_policies_have_no_candidate(config: Config) -> Iterator[Finding]:
    if config.policy.compat and config.policy.candidate is not None:
        yield Finding(
            ("policy", "candidate"), "a candidate is compared by our result contract, not by the plugin's", "remove it"
        )


@error
def compatible_policies_answer_envoy_only(config: Config) -> Iterator[Finding]:
    if config.policy.compat and config.api.authzen is not None:
        yield Finding(
            ("api", "authzen"),
            "AuthZEN's questions need a policy of our input and result, policy.compat has the plugin's",
            "remove it, or serve AuthZEN from a server without policy.compat",
        )
