"""A pipeline from outside the package: it learns which of two numbers count."""
