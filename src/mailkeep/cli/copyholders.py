"""Which peers hold what is about to be freed: they are asked, and have to show it (`mailkeep.replicate.prove`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailkeep.domain.errors import MailkeepError, PeerUnavailable

if TYPE_CHECKING:
    from types import TracebackType

    from mailkeep.cli.run import Output, Place
    from mailkeep.cli.target import Target
    from mailkeep.replicate.prove import Asker
    from mailkeep.store.store import Store
    from mailkeep.system.process import Child


class Copies:
    """Asks the peers of a store, each over one connection that is made when first needed.

    Attributes:
        wanted: So many must show a content before it is freed, as configured.
    """

    def __init__(self, store: Store, place: Place, output: Output) -> None:
        self.store, self.place, self.output = store, place, output
        self.wanted = 0 if place.settings is None else place.settings.retention.copies
        self._peers: list[tuple[Target, Child, Asker]] | None = None

    def __enter__(self) -> Copies:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, child, _ in self._peers or ():
            child.end(5.0)

    def shown(self, contents: list[int]) -> dict[int, int]:
        """How many other stores have just shown that they hold each of these contents, by number."""
        from mailkeep.replicate.prove import PAGE

        if self._peers is None:
            self._peers = self._connect()
        by_id = {self.store.ledger.content_id(no): no for no in contents}
        stores: dict[int, set[bytes]] = {}
        ids = list(by_id)
        for start in range(0, len(ids), PAGE):
            for peer in list(self._peers):
                for content_id in self._ask(peer, ids[start : start + PAGE]):
                    stores.setdefault(by_id[content_id], set()).add(peer[2].store)
        return {no: len(who) for no, who in stores.items()}

    def _connect(self) -> list[tuple[Target, Child, Asker]]:
        from mailkeep.cli.target import spawn, target_of
        from mailkeep.replicate.prove import Asker

        out = []
        assert self.place.settings is not None
        for settings in self.place.settings.peers.values():
            target = target_of(settings)
            try:
                child = spawn(target)
            except MailkeepError as err:
                self.output.error(err)
                continue
            out.append((target, child, Asker(self.store.vault, self.store.id)))
        return out

    def _ask(self, peer: tuple[Target, Child, Asker], ids: list[bytes]) -> set[bytes]:
        """What a peer shows; one that fails is not asked again."""
        from mailkeep.replicate.channel import drive

        target, child, asker = peer
        asker.ask(ids)
        try:
            drive(
                asker, child.stdout, child.stdin, timeout_seconds=target.timeout, until=lambda: asker.answered
            )
            if not asker.answered:
                raise PeerUnavailable("it closed the connection before it answered")
            return asker.shown
        except (MailkeepError, OSError) as err:
            self.output.warn(f"{target.name}: {err}: it shows nothing, and nothing is freed on its account")
            assert self._peers is not None
            self._peers.remove(peer)
            child.end(2.0)
            return set()
