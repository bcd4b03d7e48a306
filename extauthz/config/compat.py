"""opa-envoy-plugin's words for what belongs to the server: `addr` and `grpc-max-recv-msg-size` take effect there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extauthz.config.model import Config


def with_plugin_words(config: Config) -> Config:
    """`config`, its server block completed by `policy.opa_envoy_plugin`; the same object when there is nothing to do.

    What the server block says itself goes first. An `addr` that has taken effect is taken out of the plugin's block, so
    that a command line may still say something else; what `checks.compat` finds there contradicts the server block.
    """
    if not config.policy.compat:
        return config
    plugin, server = config.policy.opa_envoy_plugin, config.server
    changed: dict[str, Any] = {}
    if plugin.listen and ("listen" not in server.model_fields_set or server.listen == plugin.listen):
        changed["listen"] = plugin.listen
        plugin = plugin.model_copy(update={"addr": ""})
    if "grpc_max_recv_msg_size" in plugin.model_fields_set and "max_check" not in server.model_fields_set:
        changed["max_check"] = plugin.grpc_max_recv_msg_size
    if not changed:
        return config
    policy = config.policy.model_copy(update={"opa_envoy_plugin": plugin})
    return config.model_copy(update={"server": server.model_copy(update=changed), "policy": policy})
