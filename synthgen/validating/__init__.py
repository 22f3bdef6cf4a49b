"""What trainers would do with a file: each fault by its line and rule, and a repaired copy."""
