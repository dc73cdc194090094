"""The scores of a model on the built-in world: what it draws, sees, says and thinks of its own drawings.

Data: prompts, scenes and questions of `unimm.world`, made from a seed. Pictures are judged by the scene
reader and GenEval's rules (`unimm.world.reader`, `unimm.world.spec`); answers by exact match but for case and
a full stop; captions by `unimm.world.grammar.tells_all`. Text is decoded greedily. Version 1.
"""

from unimm.evaluation.world.command import main

__all__ = ["main"]
