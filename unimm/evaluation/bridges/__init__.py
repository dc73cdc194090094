"""The models in other people's harnesses: lmms-eval and VLMEvalKit. Neither is needed to import this."""
