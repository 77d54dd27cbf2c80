"""Writing instructions about audio: prompts, engines, parsing, verification, and the ladder over them."""
