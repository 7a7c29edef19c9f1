import pandas as pd
import pytest


@pytest.fixture
def raw() -> pd.DataFrame:
    """Twelve sound votes on twelve prompts, as a raw table holds them."""
    return pd.DataFrame(
        {
            "id": [f"v{number}" for number in range(12)],
            "prompt": [f"prompt {number}" for number in range(12)],
            "response_a": [f"first answer {number}" for number in range(12)],
            "response_b": [f"second answer {number}" for number in range(12)],
            "winner": ["model_a", "model_b"] * 6,
            "model_a": "alpha",
            "model_b": "beta",
            "language": "English",
        }
    )
