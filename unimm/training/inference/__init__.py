"""How fast a model draws and judges what it drew, stage by stage, beside the naive order of the same work."""
