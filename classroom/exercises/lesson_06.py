"""Exercises of 06."""
from classroom.exercises.model import exercise
@exercise("06.1")
def a(answer): return ""
@exercise("06.2")
def b(answer): return ""
