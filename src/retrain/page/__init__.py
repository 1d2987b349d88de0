"""The pages: how a project stands, what a comparison showed, and the card of a model."""
