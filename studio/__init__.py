"""A web-UI fine-tuning studio for text-to-image diffusion models.

Page and trainer meet only in files. Which room may import which: `[tool.importlinter]` in pyproject.toml.
"""

from pathlib import Path

__version__ = "0.1.0"

PACKAGE = Path(__file__).resolve().parent  # this code; what it is installed in, or its repository, lies around it
