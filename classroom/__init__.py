"""How the course runs: the stack, what a notebook needs of it, the exercises and the doctor."""
