"""The servers that are measured, each in the usual way of its library."""
