"""What one language lets the simulated arena say."""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Phrasebook:
    """The sentences of one language.

    Placeholders: ``{a}``, ``{b}`` numbers, ``{topics}`` a list of topics, ``{topic}``, ``{quality}``, ``{word}``,
    ``{result}``.
    """

    name: str
    """English name, as in the public files."""
    code: str
    """ISO 639-1."""
    weight: float
    """Share of the prompts; the shares of all languages sum to 1."""
    topics: tuple[str, ...]
    qualities: tuple[str, ...]
    opposites: tuple[str, ...]
    """Words in pairs: the words at 2 i and 2 i + 1 are opposites."""
    prompts: dict[str, tuple[str, ...]]
    """Phrasings of each kind of task."""
    statements: tuple[str, ...]
    results: tuple[str, ...]
    refusals: tuple[str, ...]
    openers: tuple[str, ...]
    """Sentences before the point of an answer; voters do not care for them."""
    closers: tuple[str, ...]
    """Sentences after the point of an answer; voters do not care for a few of them."""
    greetings: tuple[str, ...]
    reasons: tuple[str, ...]
    """Harmless reasons for a question."""
    harms: tuple[str, ...]
    """Intentions that make a refusal the right answer."""
    separator: str = " "
    """Between sentences."""
    conjunction: str = " and "
    quote: str = "{}"

    def list_topics(self, topics: tuple[int, ...]) -> str:
        """Write topics one after the other, quoted as the language wants it."""
        return self.conjunction.join(self.quote.format(self.topics[topic]) for topic in topics)

    def show_word(self, word: int) -> str:
        """Write one of the opposites, quoted as the language wants it."""
        return self.quote.format(self.opposites[word])
