"""What a novelty index holds: each entry's tokens as numbers, its id and its text, in a few flat buffers."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from synthgen.dedup.near import Near

# Longer texts are few: they are compared one by one, and no key has to hold their length.
LONG_TOKENS = 65_535
UNKNOWN = -1


class Entries:
    """Entries in the order they came. Nothing here is one Python object an entry: a million take 200 MB.

    Texts are compared as multisets of elements, a word and its occurrence: the second "the" of a text is an element
    of its own. The first occurrence of a word stands for the word where order counts.
    """

    def __init__(self) -> None:
        self.flat = array("I")  # elements of all entries, one after the other
        self.starts = array("Q", [0])
        self.orders = array("q")
        self.word_of = array("I")  # of each element
        self.long: list[int] = []
        self._words: dict[str, int] = {}
        self._repeats: dict[int, int] = {}  # occurrence << 32 | word
        self._text = bytearray()  # id and text of each entry, one after the other
        self._text_starts = array("Q", [0])
        self._id_bytes = array("I")

    def __len__(self) -> int:
        return len(self.orders)

    def add(self, id_: str, text: str, tokens: Sequence[str], order: int | None) -> None:
        """Store an entry; `order` rises."""
        elements = [self._word(token) for token in tokens]
        if len(elements) > LONG_TOKENS:
            self.long.append(len(self))
        elif len(set(elements)) < len(elements):
            self._number_repeats(elements)
        self.flat.extend(elements)
        self.starts.append(len(self.flat))
        self.orders.append(len(self) if order is None else order)
        # Text of a broken file may hold half of a surrogate pair.
        name, body = id_.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass")
        self._text += name
        self._text += body
        self._text_starts.append(len(self._text))
        self._id_bytes.append(len(name))

    def _word(self, token: str) -> int:
        found = self._words.get(token)
        if found is None:
            found = self._words[token] = len(self.word_of)
            self.word_of.append(found)
        return found

    def _number_repeats(self, elements: list[int]) -> None:
        """Give each further occurrence of a word its own element, in place."""
        times: dict[int, int] = {}
        for i, word in enumerate(elements):
            before = times.get(word, 0)
            times[word] = before + 1
            if before:
                found = self._repeats.setdefault(before << 32 | word, len(self.word_of))
                if found == len(self.word_of):
                    self.word_of.append(word)
                elements[i] = found

    def words(self, tokens: Sequence[str]) -> list[int]:
        """The words of a text that is asked about, UNKNOWN where no entry has it."""
        get = self._words.get
        return [get(token, UNKNOWN) for token in tokens]

    def elements(self, words: list[int]) -> list[int]:
        """The elements of those words that some entry has, in no particular order."""
        known = [word for word in words if word >= 0]
        if len(set(known)) == len(known):
            return known
        times: dict[int, int] = {}
        for i, word in enumerate(known):
            before = times.get(word, 0)
            times[word] = before + 1
            if before:
                known[i] = self._repeats.get(before << 32 | word, UNKNOWN)
        return [element for element in known if element >= 0]

    def words_of(self, entry: int) -> list[int]:
        word_of = self.word_of
        return [word_of[element] for element in self.flat[self.starts[entry] : self.starts[entry + 1]]]

    def span(self, since: int | None, before: int | None) -> tuple[int, int]:
        """Entries whose order is in [since, before): the first, and the one after the last."""
        first = 0 if since is None else bisect_left(self.orders, since)
        return first, len(self) if before is None else bisect_left(self.orders, before)

    def near(self, entry: int, score: float) -> Near:
        """The entry as evidence."""
        start, end = self._text_starts[entry], self._text_starts[entry + 1]
        middle = start + self._id_bytes[entry]
        name, body = bytes(self._text[start:middle]), bytes(self._text[middle:end])
        return Near(name.decode("utf-8", "surrogatepass"), score, "rouge-l", body.decode("utf-8", "surrogatepass"))
