"""How public harnesses read a model's answer; every rule is written from its description, quirks included."""
