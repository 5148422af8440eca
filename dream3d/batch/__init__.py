"""Libraries of assets: many prompts, one folder, nothing lost. The folder is the truth; whoever works on it, and how many, is not."""
