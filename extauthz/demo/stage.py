"""What scenarios need of a running platform, however it was started: processes of this machine, or containers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from extauthz.demo.authority import Authority
    from extauthz.demo.cluster import Cluster
    from extauthz.demo.config_files import Credentials
    from extauthz.demo.layout import Layout
    from extauthz.demo.zones import Zone


class Stage(Protocol):
    """`layout` says where this process reaches the zones and finds their access logs; `credentials` are the lab's.

    Parts are `authority`, `catalogue`, and for a zone `<zone>.agent`, `<zone>.envoy`, `<zone>.extauthz`,
    `<zone>.service`.
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def credentials(self) -> Credentials: ...

    @property
    def authority(self) -> Authority: ...

    @property
    def cluster(self) -> Cluster: ...

    async def kill(self, name: str) -> None:
        """End a part at once; returns when it is gone."""

    async def restart(self, name: str) -> None:
        """Start a part that has ended, and wait until it is ready. Raises ExtauthzError."""

    async def kill_opa(self, zone: Zone) -> None:
        """End the OPA that the zone's authorization server asks. Raises ExtauthzError when there is none."""

    async def revive_opa(self, zone: Zone) -> None:
        """Let whoever looks after it start it again."""

    async def pause_opa(self, zone: Zone) -> None:
        """Stop it without ending it. Raises ExtauthzError when there is none."""

    async def resume_opa(self, zone: Zone) -> None: ...

    async def operate(self, part: str, *words: str) -> tuple[int, str]:
        """`extauthz WORDS` as an operator beside the part runs it: exit code, and what it printed.

        In the words, `{config}` is the part's configuration, `{audit}` its audit directory, `{scratch}` a folder for
        files of one's own.
        """
