"""The data challenge: a field packaged for others, and what they hand in, checked and scored."""
