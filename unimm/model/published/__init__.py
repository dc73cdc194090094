"""Scale-RAE's published folders (Tong et al. 2026, arXiv 2601.16208) as models of this house, and back."""

from unimm.model.published.opening import open_published
from unimm.model.published.parts import PARTS, is_published

__all__ = ["PARTS", "is_published", "open_published"]
