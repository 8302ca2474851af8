"""Measurements of what the course claims about its speed."""
