"""Fine-tuning on what synthgen made (a later part of the project)."""
