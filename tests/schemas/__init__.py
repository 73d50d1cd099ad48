"""Keeps the JSON Schemas in `protocol/documents/` equal to the models."""
