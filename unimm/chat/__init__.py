"""A conversation with the model: history, memory of what was read, and undo."""

from unimm.chat.conversation import Conversation

__all__ = ["Conversation"]
