"""What a worker can be asked about its requests and its circumstances (`observe.desk`).

What answers is imported with the first question of its kind: nobody pays for what nobody asks.
"""

from __future__ import annotations

from vivace.observe.desk import aside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from vivace.config.settings import Settings
    from vivace.connection.facts import FactsDesk
    from vivace.connection.loop import Loop

    Told = dict[str, Any]


class Topics:
    """Of one server."""

    def __init__(self, loop: Loop, settings: Settings) -> None:
        self._loop = loop
        self._settings = settings
        self._facts: FactsDesk | None = None
        loop.plan.topics.update({"facts": self.tell_facts, "settings": aside(self.tell_settings)})

    def tell_facts(self, question: Told) -> Told:
        """See `connection.facts`. The leader."""
        if self._facts is None:
            from vivace.connection.facts import FactsDesk

            self._facts = FactsDesk(self._loop)
        return self._facts.told_of(question)

    def tell_settings(self, question: Told) -> Told:
        """See `circumstances`."""
        from vivace.worker.circumstances import told

        return told(self._loop.plan.app, self._settings)
