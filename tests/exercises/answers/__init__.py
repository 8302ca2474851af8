"""Answers to the exercises, one module for each lesson: what the tests of `test_exercises.py` try.

Each module has NAMES (what the lesson has imported by then), WRONG (exercise, what is wrong with it, the body of the
learner's function, a part of the verdict's words), RIGHT (exercise, another body that has to pass), and may have PIECES
(texts that stand in a body for longer code) and MY_TASKS (what stands below `%%my_tasks` for these answers).
"""
