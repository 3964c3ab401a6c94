"""Public benchmarks: worlds of others, each in an environment of its own beside this package's."""
