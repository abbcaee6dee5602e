"""Attention in motion: from a trace to frames, from frames to a player, a picture or a video."""
