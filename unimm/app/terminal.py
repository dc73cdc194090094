"""A conversation in the terminal: words are streamed, pictures go to files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from unimm.app.exits import describe
from unimm.app.files import encode, unused
from unimm.whole import write_whole

if TYPE_CHECKING:
    from PIL import Image

    from unimm import UniMM

HELP = "/image PATH goes with your next words, /undo takes back the last, /quit leaves"


class Terminal:
    """One person, one model, one conversation."""

    def __init__(self, model: UniMM, folder: Path, seed: int = 0, **options) -> None:
        """Draw into `folder`; the n-th reply draws from `seed` + n; options are those of `UniMM.respond`."""
        from unimm import Conversation

        self.conversation = Conversation(model, **options)
        self.folder = folder
        self.seed = seed
        self.pictures: list[Image.Image] = []  # shown, waiting for the words that go with them
        self.commands = {"/image": self.show, "/undo": self.undo, "/help": self.help}

    def run(self, read: Callable[[str], str] = input) -> None:
        """Converse until /quit or the end of the input; a mistake is told and the conversation goes on."""
        self.help()
        while True:
            try:
                line = read("you: ").strip()
            except EOFError:
                print()
                return
            if line == "/quit":
                return
            try:
                self.take(line)
            except (ValueError, OSError) as error:
                print(f"! {describe(error)}")

    def take(self, line: str) -> None:
        """Do what a line says: a command, or something said to the model.

        Raises:
            ValueError: an unknown command, or words that the model cannot take.
        """
        if line.startswith("/"):
            command, _, rest = line.partition(" ")
            if command not in self.commands:
                raise ValueError(f"{command}: expected one of {', '.join(self.commands)} or /quit")
            self.commands[command](rest.strip())
        elif line or self.pictures:
            self.say(line)

    def say(self, words: str) -> None:
        """Say something, with the pictures that were shown, and print the reply as it comes."""
        content = [*self.pictures, *([words] if words else [])]
        events = self.conversation.stream(*content, seed=self.seed)
        print("model: ", end="", flush=True)
        for event in events:
            self.tell(event)
        print()
        self.seed += 1
        self.pictures = []

    def tell(self, event) -> None:
        """Print one event of a reply; a finished picture is written and its name printed."""
        from unimm.model.responding import DrawingEvent, ImageEvent, TokenEvent

        if isinstance(event, TokenEvent):
            print(event.text, end="", flush=True)
        elif isinstance(event, DrawingEvent) and sys.stdout.isatty():
            progress = f"drawing {event.step}/{event.total}" if event.step < event.total else ""
            print(f"\x1b7{progress}\x1b[K\x1b8", end="", flush=True)  # written over by what comes next
        elif isinstance(event, ImageEvent):
            path = write_whole(unused(self.folder, "drawing"), encode(event.image))
            print(f"[{path}] ", end="", flush=True)

    def show(self, name: str) -> None:
        """Open a picture for the next words."""
        from unimm.latents.pixels import load_image

        if not name:
            raise ValueError("/image: expected the path of a picture")
        self.pictures.append(load_image(Path(name).expanduser()))
        print(f"[{name}] goes with your next words")

    def undo(self, _: str = "") -> None:
        """Take the last exchange back."""
        self.conversation.undo()
        print("taken back")

    def help(self, _: str = "") -> None:
        """Say what can be said."""
        print(HELP)
