"""Engines, which run a transform over clips: the base class, and the engine that uses threads on this machine."""
