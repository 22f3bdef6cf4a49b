"""What a novelty index holds: each entry's tokens as numbers, its id and its text, in a few flat buffers."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

from synthgen.dedup.near import Near

# Longer texts are few: they are compared one by one, and no key has to hold their length.
LONG_TOKENS = 65_535
UNKNOWN = -1
_PAGE = 256


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
        self.longest = 0  # tokens, of the others
        self._words: dict[str, int] = {}
        self._repeats: dict[int, int] = {}  # occurrence << 32 | word
        self._texts = _Texts()

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
        self._texts.add(id_, text)
        self.longest = max(self.longest, min(len(elements), LONG_TOKENS))

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
        id_, text = self._texts.at(entry)
        return Near(id_, score, "rouge-l", text)


class _Texts:
    """Pairs of an id and a text as UTF-8, _PAGE of them in one piece: a large buffer leaves holes where it grew."""

    def __init__(self) -> None:
        self._pages: list[bytes] = []
        self._last = bytearray()
        self._bytes = array("I")  # of the id, of the text, of the next id

    def add(self, id_: str, text: str) -> None:
        if len(self._bytes) == 2 * _PAGE * (len(self._pages) + 1):
            self._pages.append(bytes(self._last))
            self._last.clear()
        for one in (id_, text):  # text of a broken file may hold half of a surrogate pair
            encoded = one.encode("utf-8", "surrogatepass")
            self._last += encoded
            self._bytes.append(len(encoded))

    def at(self, n: int) -> tuple[str, str]:
        page = n // _PAGE
        held = self._pages[page] if page < len(self._pages) else self._last
        start = sum(self._bytes[2 * _PAGE * page : 2 * n])
        middle, end = start + self._bytes[2 * n], start + self._bytes[2 * n] + self._bytes[2 * n + 1]
        id_, text = bytes(held[start:middle]), bytes(held[middle:end])
        return id_.decode("utf-8", "surrogatepass"), text.decode("utf-8", "surrogatepass")
