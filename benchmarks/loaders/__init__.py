"""Our files through the real readers of LLaMA-Factory, TRL, axolotl and ms-swift."""
