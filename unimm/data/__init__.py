"""Where training samples come from: their order, and latents kept on disk."""
