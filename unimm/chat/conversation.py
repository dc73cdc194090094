"""One conversation: what was said and drawn, and what the model has already read of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unimm.model.context import Context
from unimm.model.inputs import image_list, turns_with_latents
from unimm.model.responding import DoneEvent, Event, Reply, collect
from unimm.parts import Image, Text, Turn, from_messages

if TYPE_CHECKING:
    from unimm.model import UniMM


class Conversation:
    """Turns with one model, kept and remembered.

        talk = Conversation(model)
        talk.say("Draw two red circles.").images[0]
        talk.say("How many circles are there?").text
        talk.undo()

    A picture is encoded once; one that the model drew is never encoded at all, its latents go straight back.
    """

    def __init__(self, model: UniMM, messages: Sequence[Mapping[str, Any]] = (), **options: Any) -> None:
        """Start anew or from an earlier conversation's messages; `options` are those of `respond`."""
        self.model = model
        self.options = options
        self._messages: list[dict[str, Any]] = []
        self._context = Context(model)
        for message in messages:
            self._messages.append(self._remembered(message))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation in the common format; pictures carry their latents."""
        return list(self._messages)

    def stream(self, *content: Any, **options: Any) -> Iterator[Event]:
        """Say something and yield the reply's events; see `UniMM.respond`.

        The exchange enters the history when the reply is complete. A reply that is left unfinished leaves
        no trace.

        Args:
            content: texts, and pictures or latents [N C], in reading order. A string is a text; name a file
                by a Path.
            options: differences from the conversation's own, for this reply.

        Raises:
            ValueError: nothing was said, or it does not fit the model's context any more.
        """
        return self._ask(
            self._remembered({"role": "user", "content": [_item(part) for part in content]}), options
        )

    def say(self, *content: Any, **options: Any) -> Reply:
        """Say something and return the whole reply; arguments as in `stream`."""
        return collect(self.stream(*content, **options))

    def undo(self) -> list[dict[str, Any]]:
        """Take back the last exchange and return it: what was said and what was answered.

        Raises:
            ValueError: there is nothing to take back.
        """
        places = [index for index, message in enumerate(self._messages) if message["role"] == "user"]
        if not places:
            raise ValueError("undo: expected an exchange to take back, the conversation has none")
        taken = self._messages[places[-1] :]
        del self._messages[places[-1] :]
        return taken

    def retry(self, **options: Any) -> Reply:
        """Take back the last exchange and say the same again; pass another `seed` for another picture.

        Raises:
            ValueError: there is nothing to say again.
        """
        taken = self.undo()
        try:
            return collect(self._ask(taken[0], options))
        except BaseException:
            self._messages += taken
            raise

    def _ask(self, said: dict[str, Any], options: Mapping[str, Any]) -> Iterator[Event]:
        """Check at once, then yield the reply and keep the exchange when it is complete."""
        asked = [*self._messages, said]
        events = self.model.respond(asked, context=self._context, **{**self.options, **options})
        return self._recorded(said, events)

    def _recorded(self, said: dict[str, Any], events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            if isinstance(event, DoneEvent):
                self._messages += [said, event.message]
            yield event

    def _remembered(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return a message with the latents of its pictures, so that each is encoded once."""
        turn = turns_with_latents(self.model, from_messages([message]))[0]
        return {"role": turn.role, "content": [_content(part) for part in turn.parts]}


def _item(part: Any) -> dict[str, Any]:
    """Return what a caller passed as one item of a message's content."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, Mapping):
        return dict(part)
    if isinstance(part, Turn):
        raise ValueError("content: expected texts and pictures, got a whole turn")
    image = image_list(part)[0]
    return {"type": "image", "image": image.image, "latents": image.latents, "seen": image.seen}


def _content(part: Text | Image) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    latents = {name: getattr(part, name) for name in ("latents", "seen") if getattr(part, name) is not None}
    return {"type": "image", "image": part.image, **latents}
