"""From conversations to prompts, answers of many models, and pairs of them."""
